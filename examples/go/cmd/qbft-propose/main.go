// Command qbft-propose has a running cluster decide a value, and believes nothing but the
// certificate: qbft-propose CLUSTER_FILE TOPIC HEIGHT VALUE
//
// Exit code 1 if no node gives a proof, 2 if it was called wrongly.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"example.org/qbft/verify"
)

//go:generate ./generate.sh

func main() {
	if len(os.Args) != 5 {
		end(2, "usage: qbft-propose CLUSTER_FILE TOPIC HEIGHT VALUE")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		end(2, err.Error())
	}
	cluster, err := verify.ParseCluster(text)
	if err != nil {
		end(2, err.Error())
	}
	height, err := strconv.ParseUint(os.Args[3], 10, 63)
	if err != nil {
		end(2, err.Error())
	}
	asked := instance{os.Args[2], height}
	decision, err := propose(context.Background(), cluster, verify.ParseNodes(text), asked, []byte(os.Args[4]))
	if err != nil {
		end(1, err.Error())
	}
	fmt.Printf("%s/%d  round %d  %s  digest %x  signers %v\n",
		decision.Topic, decision.Height, decision.Round, decision.Value, decision.Digest, decision.Signers)
}

func end(code int, message string) {
	fmt.Fprintln(os.Stderr, "qbft-propose: "+message)
	os.Exit(code)
}
