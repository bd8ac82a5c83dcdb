package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"example.org/qbft/cmd/qbft-propose/pb"
	"example.org/qbft/verify"
)

// load gives the cluster, the decision and its instance of tests/crypto/vectors.json.
func load(t *testing.T) (verify.Cluster, *pb.Decision, instance) {
	t.Helper()
	data, err := os.ReadFile("../../../../tests/crypto/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		ClusterFile struct{ Text string } `json:"cluster_file"`
		Certificate struct {
			Topic            string
			Height           uint64
			DecisionProtobuf string `json:"decision_protobuf"`
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	cluster, err := verify.ParseCluster([]byte(vectors.ClusterFile.Text))
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := hex.DecodeString(vectors.Certificate.DecisionProtobuf)
	if err != nil {
		t.Fatal(err)
	}
	decision := &pb.Decision{}
	if err := proto.Unmarshal(encoded, decision); err != nil {
		t.Fatal(err)
	}
	return cluster, decision, instance{vectors.Certificate.Topic, vectors.Certificate.Height}
}

func TestADecisionAboutWhatWasAsked(t *testing.T) {
	cluster, decision, asked := load(t)
	told, err := proven(&pb.ProposeReply{Decision: decision}, cluster, asked)
	if err != nil || told.Height != asked.height {
		t.Errorf("%v, %v", told, err)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	cluster, decision, asked := load(t)
	bare := proto.CloneOf(decision)
	bare.Value = nil
	changed := proto.CloneOf(decision)
	changed.Certificate.Round++
	for _, one := range []struct {
		decision *pb.Decision
		asked    instance
		why      string
	}{
		{decision, instance{asked.topic, asked.height + 1}, "another instance"},
		{decision, instance{asked.topic + "s", asked.height}, "another instance"},
		{bare, asked, "kept the value back"},
		{changed, asked, "another instance or round"},
		{nil, asked, "no decision"},
	} {
		_, err := proven(&pb.ProposeReply{Decision: one.decision}, cluster, one.asked)
		if err == nil || !strings.Contains(err.Error(), one.why) {
			t.Errorf("not refused for %q: %v", one.why, err)
		}
	}
}
