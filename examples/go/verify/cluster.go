package verify

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// A cluster file is TOML, as `qbft init` writes it; three kinds of its lines matter here.
var (
	nameLine  = regexp.MustCompile(`^name = "([A-Za-z0-9._-]+)"$`)
	epochLine = regexp.MustCompile(`^epoch = (\d+)$`)
	keyLine   = regexp.MustCompile(`^vote_key = "([0-9a-f]{64})"$`)
)

// notLines are the strings and comments of TOML: what looks like a line within one of many lines is
// none. One that does not end goes on to the end of the file.
var notLines = regexp.MustCompile(
	`'''(?s:.*?)(?:'{3,5}|\z)|"""(?s:\\.|[^\\])*?(?:"{3,5}|\z)|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*`)

// ParseCluster reads name, epoch and vote keys of a cluster file: a key counts in a validator's
// table only, the other two above all tables.
func ParseCluster(text []byte) (Cluster, error) {
	var cluster Cluster
	hasEpoch, table := false, ""
	for _, line := range strings.Split(notLines.ReplaceAllStringFunc(string(text), ofOneLine), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = line
		} else if name := nameLine.FindStringSubmatch(line); name != nil && table == "" {
			cluster.Name = name[1]
		} else if epoch := epochLine.FindStringSubmatch(line); epoch != nil && table == "" {
			number, err := strconv.ParseUint(epoch[1], 10, 64)
			if err != nil {
				return Cluster{}, err
			}
			cluster.Epoch, hasEpoch = number, true
		} else if key := keyLine.FindStringSubmatch(line); key != nil && table == "[[validators]]" {
			decoded, err := hex.DecodeString(key[1])
			if err != nil {
				return Cluster{}, err
			}
			cluster.Keys = append(cluster.Keys, decoded)
		}
	}
	if cluster.Name == "" || !hasEpoch || len(cluster.Keys) == 0 {
		return Cluster{}, fmt.Errorf("not a cluster file: it needs name, epoch and vote keys")
	}
	return cluster, nil
}

// ofOneLine leaves a string of one line as it is, and nothing of one of many lines or a comment.
func ofOneLine(token string) string {
	if strings.HasPrefix(token, "#") || strings.HasPrefix(token, "'''") || strings.HasPrefix(token, `"""`) {
		return ""
	}
	return token
}
