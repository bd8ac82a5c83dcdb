#!/bin/sh
# Makes the cluster of docker-compose.yml once, and hands each node its own folder.
#
# The cluster file is written last: without it no node starts, so whatever interrupts this, running it
# again finishes the same cluster. It overwrites no node's keys or votes. ROOT goes before all paths.
#
# usage: init.sh [ROOT]
set -eu
umask 077
root=${1:-}
public="$root/etc/qbft"
made="$public/made"
nodes="0 1 2 3"

if [ -e "$public/cluster.toml" ]; then
  rm -rf "$made" "$public"/.made.*
  echo "the cluster exists; nothing to do"
  exit 0
fi

if [ ! -d "$made" ]; then
  for i in $nodes; do
    if [ -e "$root/init/$i/vote.key" ]; then
      echo "node $i has keys, but the cluster file is lost: restore it into the volume 'cluster', or" \
        "remove all volumes to begin a new cluster" >&2
      exit 1
    fi
  done
  rm -rf "$public"/.made.*
  # Ordered are the topics of examples/locks.py and examples/config_store.py.
  qbft init "$made" --nodes 4 --open --ordered locks/ --ordered config/ --name compose --base-port 7400 \
    --host node0 --host node1 --host node2 --host node3
fi

for i in $nodes; do
  from="$made/node-$i"
  to="$root/init/$i"
  if [ -e "$to/vote.key" ] && ! cmp -s "$from/vote.key" "$to/vote.key"; then
    echo "node $i has the keys of another cluster: remove all volumes to begin a new one" >&2
    exit 1
  fi
  # The vote key first and whole: from then on the volume belongs to this cluster.
  cp -a "$from/vote.key" "$to/.vote.key"
  mv "$to/.vote.key" "$to/vote.key"
  cp -a "$from/." "$to/"
done

# Addresses are outside the cluster id: for clients on this machine the nodes are at its loopback.
sed 's/^client = "node\([0-9]\):7401"/client = "127.0.0.1:74\11"/' "$made/cluster.toml" \
  >"$public/localhost.toml"
chmod 0644 "$public/localhost.toml" "$made/cluster.toml"
sync
mv "$made/cluster.toml" "$public/cluster.toml"
sync
rm -rf "$made"
