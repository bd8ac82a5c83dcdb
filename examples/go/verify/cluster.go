package verify

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Node is a node as clients reach it.
type Node struct {
	Client      string // host:port
	Certificate string // PEM, of itself alone
}

// A cluster file is TOML, as `qbft init` writes it; some kinds of its lines matter here.
var (
	keyValue  = regexp.MustCompile(`^(\w+) = (.+)$`)
	long      = regexp.MustCompile(`^long (\d+)$`)
	nameForm  = regexp.MustCompile(`^"([A-Za-z0-9._-]+)"$`)
	voteKey   = regexp.MustCompile(`^"([0-9a-f]{64})"$`)
	epochForm = regexp.MustCompile(`^\d+$`)
)

// notLines are the strings and comments of TOML: what looks like a line within one of many lines is
// none. One that does not end goes on to the end of the file.
var notLines = regexp.MustCompile(
	`'''(?s:.*?)(?:'{3,5}|\z)|"""(?s:\\.|[^\\])*?(?:"{3,5}|\z)|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*`)

// table is what stands before `=`, and what after it; strings of many lines without their quotes.
type table map[string]string

// read gives what stands above all tables, and each validator's table.
func read(text []byte) (top table, validators []table) {
	var strs []string
	lines := notLines.ReplaceAllStringFunc(string(text), func(token string) string {
		if strings.HasPrefix(token, "#") {
			return ""
		}
		if !strings.HasPrefix(token, "'''") && !strings.HasPrefix(token, `"""`) {
			return token
		}
		strs = append(strs, strings.Trim(token, token[:1]))
		return fmt.Sprintf("long %d", len(strs)-1)
	})
	top = table{}
	current := top
	for _, line := range strings.Split(lines, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			current = table{}
			if line == "[[validators]]" {
				validators = append(validators, current)
			}
		} else if found := keyValue.FindStringSubmatch(line); found != nil {
			value := found[2]
			if at := long.FindStringSubmatch(value); at != nil {
				if i, err := strconv.Atoi(at[1]); err == nil && i < len(strs) {
					value = strs[i]
				}
			}
			current[found[1]] = value
		}
	}
	return top, validators
}

// ParseCluster reads name, epoch and vote keys of a cluster file: a key counts in a validator's
// table only, the other two above all tables.
func ParseCluster(text []byte) (Cluster, error) {
	top, validators := read(text)
	name := nameForm.FindStringSubmatch(top["name"])
	if name == nil || !epochForm.MatchString(top["epoch"]) || len(validators) == 0 {
		return Cluster{}, fmt.Errorf("not a cluster file: it needs name, epoch and vote keys")
	}
	epoch, err := strconv.ParseUint(top["epoch"], 10, 64)
	if err != nil {
		return Cluster{}, err
	}
	cluster := Cluster{Name: name[1], Epoch: epoch}
	for i, validator := range validators {
		found := voteKey.FindStringSubmatch(validator["vote_key"])
		if found == nil {
			return Cluster{}, fmt.Errorf("not a cluster file: validator %d has no vote key", i)
		}
		key, err := hex.DecodeString(found[1])
		if err != nil {
			return Cluster{}, err
		}
		cluster.Keys = append(cluster.Keys, key)
	}
	return cluster, nil
}

// ParseNodes reads where clients reach the nodes of a cluster file, in order.
func ParseNodes(text []byte) []Node {
	var nodes []Node
	_, validators := read(text)
	for _, validator := range validators {
		nodes = append(nodes, Node{
			Client:      strings.ReplaceAll(validator["client"], `"`, ""),
			Certificate: strings.TrimSpace(validator["tls_certificate"]),
		})
	}
	return nodes
}
