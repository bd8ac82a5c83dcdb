package verify

import (
	"encoding/binary"
	"errors"
)

// Protobuf's wire types, as far as messages.proto uses them.
const (
	varint  = 0
	fixed64 = 1
	length  = 2
	fixed32 = 5
)

var errWire = errors.New("not a message of the wire format")

// field is one field of a serialised message: its number, and its varint or its bytes.
type field struct {
	number uint64
	kind   uint64
	value  uint64
	bytes  []byte
}

// fields splits a message. Unknown fields are among them: a reader passes over their numbers.
func fields(data []byte) ([]field, error) {
	var found []field
	for len(data) > 0 {
		tag, rest, err := uvarint(data)
		if err != nil {
			return nil, err
		}
		one := field{number: tag >> 3, kind: tag & 7}
		switch one.kind {
		case varint:
			one.value, rest, err = uvarint(rest)
		case fixed64:
			one.bytes, rest, err = take(rest, 8)
		case fixed32:
			one.bytes, rest, err = take(rest, 4)
		case length:
			var size uint64
			if size, rest, err = uvarint(rest); err == nil {
				one.bytes, rest, err = take(rest, size)
			}
		default:
			err = errWire
		}
		if err != nil || one.number == 0 {
			return nil, errWire
		}
		found = append(found, one)
		data = rest
	}
	return found, nil
}

func uvarint(data []byte) (uint64, []byte, error) {
	value, size := binary.Uvarint(data)
	if size <= 0 {
		return 0, nil, errWire
	}
	return value, data[size:], nil
}

func take(data []byte, size uint64) ([]byte, []byte, error) {
	if size > uint64(len(data)) {
		return nil, nil, errWire
	}
	return data[:size], data[size:], nil
}
