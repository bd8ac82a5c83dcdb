// Package verify checks certificates of a qbft cluster offline, from its public keys alone.
//
// It was written from docs/PROTOCOL.md, shares no code with the service, and needs the standard
// library only. Numbers of sections are that page's.
package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
)

const (
	commitType  = 3
	roundMax    = math.MaxInt32
	heightMax   = math.MaxInt64
	batchMax    = 256
	sequenceMax = math.MaxInt64 - batchMax
)

var topicForm = regexp.MustCompile(`\A[a-z0-9][a-z0-9._/-]{0,127}\z`)

// Cluster is what a certificate is checked against: name, epoch, and vote keys in order.
type Cluster struct {
	Name  string
	Epoch uint64
	Keys  [][]byte
}

// Decision is what a cluster has decided, beyond doubt as long as at most f of its validators lie.
type Decision struct {
	Topic   string
	Height  uint64
	Round   uint64
	Digest  []byte
	Value   []byte // nil where the file has none
	Signers []uint64
}

type certificate struct {
	topic   string
	height  uint64
	round   uint64
	digest  []byte
	commits []commit
}

type commit struct {
	source                uint64
	storeID               []byte
	sequence, size, index uint64
	path                  [][]byte
	signature             []byte
}

// Quorum is how many of n validators prove a decision (section 1).
func Quorum(n int) int { return (2*n + 2) / 3 }

// ID is the cluster id (section 2).
func (c Cluster) ID() []byte {
	parts := [][]byte{[]byte("qbft/cluster/v1"), []byte(c.Name), u64(c.Epoch), u64(uint64(len(c.Keys)))}
	return hash(pack(append(parts, c.Keys...)...))
}

// ValueDigest is what the validators agree on (section 7).
func ValueDigest(value []byte) []byte { return hash([]byte("qbft/value/v1\x00"), value) }

// Leader is who leads an instance in a round (section 7).
func (c Cluster) Leader(topic string, height, round uint64) uint64 {
	first := hash(pack([]byte("qbft/leader/v1"), c.ID(), []byte(topic), u64(height)))[:8]
	n := uint64(len(c.Keys))
	return (binary.BigEndian.Uint64(first)%n + (round-1)%n) % n
}

// Verify checks a file that holds a Decision, or only its Certificate (section 8).
func Verify(data []byte, cluster Cluster) (*Decision, error) {
	proof, value, err := decode(data)
	if err != nil {
		return nil, err
	}
	if err := proof.check(cluster, value); err != nil {
		return nil, err
	}
	decided := &Decision{
		Topic: proof.topic, Height: proof.height, Round: proof.round, Digest: proof.digest, Value: value,
	}
	for _, one := range proof.commits {
		decided.Signers = append(decided.Signers, one.source)
	}
	return decided, nil
}

func (c certificate) check(cluster Cluster, value []byte) error {
	switch {
	case !topicForm.MatchString(c.topic) || c.height > heightMax:
		return errors.New("there can be no such instance")
	case c.round < 1 || c.round > roundMax:
		return fmt.Errorf("there is no round %d", c.round)
	case len(c.digest) != 32 || bytes.Equal(c.digest, make([]byte, 32)):
		return errors.New("not a digest")
	case len(c.commits) < Quorum(len(cluster.Keys)):
		return fmt.Errorf("%d COMMITs are no quorum", len(c.commits))
	case value != nil && !bytes.Equal(ValueDigest(value), c.digest):
		return errors.New("the value is not the one that was decided")
	}
	id := cluster.ID()
	for i, one := range c.commits {
		if one.source >= uint64(len(cluster.Keys)) {
			return fmt.Errorf("there is no validator %d", one.source)
		}
		if i > 0 && one.source <= c.commits[i-1].source {
			return errors.New("the sources do not ascend")
		}
		if !one.isSigned(id, c.canonical(id, one.source), cluster.Keys[one.source]) {
			return fmt.Errorf("the signature of validator %d is not valid", one.source)
		}
	}
	return nil
}

// canonical are the bytes that stand for a COMMIT of the certificate (section 3).
func (c certificate) canonical(clusterID []byte, source uint64) []byte {
	return pack(
		[]byte("qbft/vote"), u64(1), clusterID, []byte(c.topic), u64(c.height),
		u64(commitType), u64(source), u64(c.round), c.digest, u64(0), nil,
	)
}

// isSigned checks a portable signature (section 5).
func (c commit) isSigned(clusterID, vote, key []byte) bool {
	if c.size < 1 || c.size > batchMax || len(c.storeID) != 16 || c.sequence < 1 || c.sequence > sequenceMax {
		return false
	}
	root := Root(hash([]byte{0}, vote), c.index, c.size, c.path)
	if root == nil {
		return false
	}
	payload := pack(
		[]byte("qbft/batch/v1"), clusterID, u64(c.source), c.storeID, u64(c.sequence), u64(c.size), root,
	)
	return Signed(key, payload, c.signature)
}

// Root is where a path leads from a leaf; nil where it leads nowhere (section 4).
func Root(leaf []byte, index, size uint64, path [][]byte) []byte {
	if index >= size {
		return nil
	}
	h, i, last := leaf, index, size-1
	for _, beside := range path {
		if last == 0 || len(beside) != 32 {
			return nil
		}
		if i%2 == 1 || i == last {
			h = hash([]byte{1}, beside, h)
			for i%2 == 0 && i != 0 {
				i, last = i/2, last/2
			}
		} else {
			h = hash([]byte{1}, h, beside)
		}
		i, last = i/2, last/2
	}
	if last != 0 {
		return nil
	}
	return h
}

func decode(data []byte) (*certificate, []byte, error) {
	parts, err := fields(data)
	if err != nil {
		return nil, nil, err
	}
	var nested, value []byte
	isDecision := false
	outer := certificate{}
	for _, part := range parts {
		switch part.number {
		case 1:
			err = outer.readInstance(part.bytes)
		case 2:
			outer.round = part.value
		case 8:
			value = append([]byte{}, part.bytes...)
		case 9:
			nested, isDecision = append(nested, part.bytes...), true
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if !isDecision {
		nested, value = data, nil
	}
	proof, err := decodeCertificate(nested)
	if err != nil {
		return nil, nil, err
	}
	if isDecision && (outer.topic != proof.topic || outer.height != proof.height || outer.round != proof.round) {
		return nil, nil, errors.New("the certificate is of another instance or round")
	}
	return proof, value, nil
}

func decodeCertificate(data []byte) (*certificate, error) {
	parts, err := fields(data)
	if err != nil {
		return nil, err
	}
	proof := &certificate{}
	for _, part := range parts {
		switch part.number {
		case 1:
			err = proof.readInstance(part.bytes)
		case 2:
			proof.round = part.value
		case 3:
			proof.digest = part.bytes
		case 4:
			var one commit
			one, err = decodeCommit(part.bytes)
			proof.commits = append(proof.commits, one)
		}
		if err != nil {
			return nil, err
		}
	}
	return proof, nil
}

func (c *certificate) readInstance(data []byte) error {
	parts, err := fields(data)
	for _, part := range parts {
		switch part.number {
		case 1:
			c.topic = string(part.bytes)
		case 2:
			c.height = part.value
		}
	}
	return err
}

func decodeCommit(data []byte) (commit, error) {
	var one commit
	parts, err := fields(data)
	for _, part := range parts {
		switch part.number {
		case 1:
			one.source = part.value
		case 2:
			if err := one.readSignature(part.bytes); err != nil {
				return one, err
			}
		}
	}
	return one, err
}

func (c *commit) readSignature(data []byte) error {
	parts, err := fields(data)
	for _, part := range parts {
		switch part.number {
		case 1:
			c.storeID = part.bytes
		case 2:
			c.sequence = part.value
		case 3:
			c.size = part.value
		case 4:
			c.index = part.value
		case 5:
			c.path = append(c.path, part.bytes)
		case 6:
			c.signature = part.bytes
		}
	}
	return err
}

func hash(parts ...[]byte) []byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

func u64(x uint64) []byte { return binary.BigEndian.AppendUint64(nil, x) }

func pack(parts ...[]byte) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}
