package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"

	"example.org/qbft/cmd/qbft-propose/pb"
	"example.org/qbft/verify"
)

// tlsName is the name in every node's certificate: which node it is, only its key says.
const tlsName = "qbft-node"

// nodeTime is how long one node has; enough for a few rounds, as when the leader of the first is down.
const nodeTime = 15 * time.Second

// instance is one agreement, written TOPIC/HEIGHT.
type instance struct {
	topic  string
	height uint64
}

// propose asks one node after the other, the leader of round 1 first, until one proves what was decided.
func propose(
	ctx context.Context, cluster verify.Cluster, nodes []verify.Node, asked instance, value []byte,
) (*verify.Decision, error) {
	request := &pb.ProposeRequest{Proposal: &pb.Proposal{
		Instance: &pb.InstanceId{Topic: asked.topic, Height: asked.height}, Value: value,
	}}
	first := int(cluster.Leader(asked.topic, asked.height, 1))
	failures := []error{errors.New("no node gave a proof")}
	for i := range nodes {
		index := (first + i) % len(nodes)
		reply, err := ask(ctx, nodes[index], request)
		if err == nil {
			var decision *verify.Decision
			if decision, err = proven(reply, cluster, asked); err == nil {
				return decision, nil
			}
		}
		failures = append(failures, fmt.Errorf("node %d: %w", index, err))
	}
	return nil, errors.Join(failures...)
}

// ask calls one node, which has to have the key of its certificate in the cluster file.
func ask(ctx context.Context, node verify.Node, request *pb.ProposeRequest) (*pb.ProposeReply, error) {
	pinned := x509.NewCertPool()
	if !pinned.AppendCertsFromPEM([]byte(node.Certificate)) {
		return nil, errors.New("the cluster file has no certificate of it")
	}
	tls := grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pinned, tlsName))
	connection, err := grpc.NewClient(node.Client, tls, grpc.WithNoProxy())
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, nodeTime)
	defer cancel()
	return pb.NewDecisionServiceClient(connection).Propose(ctx, request)
}

// proven is what a reply proves of that instance; an error where it proves nothing, or something of
// another one.
func proven(reply *pb.ProposeReply, cluster verify.Cluster, asked instance) (*verify.Decision, error) {
	if reply.GetDecision() == nil {
		return nil, errors.New("it gave no decision")
	}
	data, err := proto.Marshal(reply.GetDecision())
	if err != nil {
		return nil, err
	}
	decision, err := verify.Verify(data, cluster)
	if err != nil {
		return nil, err
	}
	if decided := (instance{decision.Topic, decision.Height}); decided != asked {
		return nil, fmt.Errorf("it answered about another instance, %s/%d", decided.topic, decided.height)
	}
	if decision.Value == nil {
		return nil, errors.New("it kept the value back")
	}
	return decision, nil
}
