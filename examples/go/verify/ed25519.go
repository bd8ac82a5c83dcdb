package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
)

// Points of small order by their y, sign bit cleared, little-endian; two of them have a second
// encoding, p and p + 1 (RFC 8032, section 5.1, arithmetic modulo p = 2^255 - 19).
var smallOrder = decodeAll(
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
)

// Signed tells whether a signature is valid by the one rule of PROTOCOL.md, section 6.
//
// The standard library refuses S of L or more and compares the cofactorless equation byte for
// byte; what it lets pass, keys and R of small order and keys not canonically encoded, is refused here.
func Signed(key, message, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize &&
		len(signature) == ed25519.SignatureSize &&
		isCanonical(key) &&
		!hasSmallOrder(key) &&
		!hasSmallOrder(signature[:32]) &&
		ed25519.Verify(key, message, signature)
}

func hasSmallOrder(point []byte) bool {
	y := cleared(point)
	for _, one := range smallOrder {
		if bytes.Equal(y, one) {
			return true
		}
	}
	return false
}

// isCanonical tells whether y is below p; the points that have x = 0 are of small order anyway.
func isCanonical(point []byte) bool {
	y := cleared(point)
	if y[31] != 0x7f || y[0] < 0xed {
		return true
	}
	for _, b := range y[1:31] {
		if b != 0xff {
			return true
		}
	}
	return false
}

func cleared(point []byte) []byte {
	y := bytes.Clone(point)
	y[31] &= 0x7f
	return y
}

func decodeAll(texts ...string) [][]byte {
	all := make([][]byte, len(texts))
	for i, text := range texts {
		all[i], _ = hex.DecodeString(text)
	}
	return all
}
