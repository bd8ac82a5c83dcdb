// Command qbft-verify checks certificate files offline: qbft-verify CLUSTER_FILE CERT...
//
// Exit code 1 if one proves nothing, 2 if a file cannot be read.
package main

import (
	"fmt"
	"os"

	"example.org/qbft/verify"
)

func main() {
	if len(os.Args) < 3 {
		end(2, "usage: qbft-verify CLUSTER_FILE CERT...")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		end(2, err.Error())
	}
	cluster, err := verify.ParseCluster(text)
	if err != nil {
		end(2, err.Error())
	}
	for _, path := range os.Args[2:] {
		data, err := os.ReadFile(path)
		if err != nil {
			end(2, err.Error())
		}
		decision, err := verify.Verify(data, cluster)
		if err != nil {
			end(1, fmt.Sprintf("%s: %v", path, err))
		}
		fmt.Printf("%s  genuine  %s/%d  round %d  digest %x  signers %v\n",
			path, decision.Topic, decision.Height, decision.Round, decision.Digest, decision.Signers)
	}
}

func end(code int, message string) {
	fmt.Fprintln(os.Stderr, "qbft-verify: "+message)
	os.Exit(code)
}
