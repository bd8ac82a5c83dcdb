package verify

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
)

// A cluster file is TOML, as `qbft init` writes it; three kinds of its lines matter here.
var (
	nameLine  = regexp.MustCompile(`(?m)^name = "([A-Za-z0-9._-]+)"\s*$`)
	epochLine = regexp.MustCompile(`(?m)^epoch = (\d+)\s*$`)
	keyLine   = regexp.MustCompile(`(?m)^vote_key = "([0-9a-f]{64})"\s*$`)
)

// ParseCluster reads name, epoch and vote keys of a cluster file.
func ParseCluster(text []byte) (Cluster, error) {
	name, epoch := nameLine.FindSubmatch(text), epochLine.FindSubmatch(text)
	keys := keyLine.FindAllSubmatch(text, -1)
	if name == nil || epoch == nil || len(keys) == 0 {
		return Cluster{}, fmt.Errorf("not a cluster file: it needs name, epoch and vote keys")
	}
	number, err := strconv.ParseUint(string(epoch[1]), 10, 64)
	if err != nil {
		return Cluster{}, err
	}
	cluster := Cluster{Name: string(name[1]), Epoch: number}
	for _, key := range keys {
		decoded, err := hex.DecodeString(string(key[1]))
		if err != nil {
			return Cluster{}, err
		}
		cluster.Keys = append(cluster.Keys, decoded)
	}
	return cluster, nil
}
