package verify

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// vectors are those that the service's own tests pin: tests/crypto/vectors.json.
type vectors struct {
	Cluster struct {
		Name      string
		Epoch     uint64
		VoteKeys  []string `json:"vote_keys"`
		ClusterID string   `json:"cluster_id"`
	}
	ClusterFile struct {
		Text             string
		Clients, Refused []string
	} `json:"cluster_file"`
	Values  []struct{ Value, Digest string }
	Leaders []struct {
		Topic   string
		Height  uint64
		Leaders []uint64
	}
	Certificate struct {
		Topic            string
		Height, Round    uint64
		Digest           string
		Protobuf         string
		DecisionProtobuf string `json:"decision_protobuf"`
	}
	Batch struct {
		Votes []struct{ Leaf string }
		Root  string
		Paths [][]string
	}
	Ed25519 []struct {
		Name, Public, Message, Signature string
		Valid                            bool
	}
}

func load(t *testing.T) (vectors, Cluster) {
	t.Helper()
	data, err := os.ReadFile("../../../tests/crypto/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	cluster := Cluster{Name: all.Cluster.Name, Epoch: all.Cluster.Epoch}
	for _, key := range all.Cluster.VoteKeys {
		cluster.Keys = append(cluster.Keys, unhex(t, key))
	}
	return all, cluster
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestClusterValuesLeaders(t *testing.T) {
	all, cluster := load(t)
	if hex.EncodeToString(cluster.ID()) != all.Cluster.ClusterID {
		t.Error("another cluster id")
	}
	for _, one := range all.Values {
		if hex.EncodeToString(ValueDigest(unhex(t, one.Value))) != one.Digest {
			t.Errorf("another digest of %q", one.Value)
		}
	}
	for _, one := range all.Leaders {
		for i, leader := range one.Leaders {
			if cluster.Leader(one.Topic, one.Height, uint64(i+1)) != leader {
				t.Errorf("another leader of %s/%d in round %d", one.Topic, one.Height, i+1)
			}
		}
	}
}

func TestKeysOfAClusterFile(t *testing.T) {
	all, cluster := load(t)
	read, err := ParseCluster([]byte(all.ClusterFile.Text))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.ID(), cluster.ID()) {
		t.Errorf("another cluster: %d keys", len(read.Keys))
	}
	nodes := ParseNodes([]byte(all.ClusterFile.Text))
	if len(nodes) != len(all.ClusterFile.Clients) {
		t.Fatalf("%d nodes", len(nodes))
	}
	for i, client := range all.ClusterFile.Clients {
		if nodes[i].Client != client || nodes[i].Certificate == "" {
			t.Errorf("node %d is %v", i, nodes[i])
		}
	}
	for _, text := range all.ClusterFile.Refused {
		if _, err := ParseCluster([]byte(text)); err == nil {
			t.Errorf("no cluster file, but it is taken for one: %q", text)
		}
	}
}

func TestPathsLeadToTheRoot(t *testing.T) {
	all, _ := load(t)
	size := uint64(len(all.Batch.Votes))
	for i, vote := range all.Batch.Votes {
		var path [][]byte
		for _, text := range all.Batch.Paths[i] {
			path = append(path, unhex(t, text))
		}
		leaf := unhex(t, vote.Leaf)
		if hex.EncodeToString(Root(leaf, uint64(i), size, path)) != all.Batch.Root {
			t.Errorf("vote %d leads to another root", i)
		}
		if Root(leaf, uint64(i), size, path[1:]) != nil || Root(leaf, size, size, path) != nil {
			t.Error("a path that is too short, or of no leaf, leads somewhere")
		}
	}
}

func TestEd25519ByTheOneRule(t *testing.T) {
	all, _ := load(t)
	for _, one := range all.Ed25519 {
		if Signed(unhex(t, one.Public), unhex(t, one.Message), unhex(t, one.Signature)) != one.Valid {
			t.Errorf("%s: must be %v", one.Name, one.Valid)
		}
	}
}

func TestCertificate(t *testing.T) {
	all, cluster := load(t)
	for _, text := range []string{all.Certificate.Protobuf, all.Certificate.DecisionProtobuf} {
		data := unhex(t, text)
		decision, err := Verify(data, cluster)
		if err != nil {
			t.Fatal(err)
		}
		if decision.Topic != all.Certificate.Topic || !bytes.Equal(decision.Digest, unhex(t, all.Certificate.Digest)) {
			t.Error("another decision")
		}
		for i := range data {
			tampered := bytes.Clone(data)
			tampered[i] ^= 1
			if told, err := Verify(tampered, cluster); err == nil && !bytes.Equal(told.Digest, decision.Digest) {
				t.Errorf("byte %d changed, and it proves another digest", i)
			}
		}
		for end := range data {
			if _, err := Verify(data[:end], cluster); err == nil {
				t.Errorf("cut at %d, and it proves something", end)
			}
		}
		if _, err := Verify(data, Cluster{"another", 1, cluster.Keys}); err == nil {
			t.Error("it proves something to another cluster")
		}
	}
}
