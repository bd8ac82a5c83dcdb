#!/bin/sh
# Makes pb/ from the published proto/, which names no package of any language; `go generate` runs it.
# PROTOC names another compiler than protoc, as "python -m grpc_tools.protoc".
set -eu
cd "$(dirname "$0")"
module=example.org/qbft/cmd/qbft-propose
set -- messages capture inspection decision
for name; do
  set -- "$@" "--go_opt=Mqbft/v1/$name.proto=$module/pb" "--go-grpc_opt=Mqbft/v1/$name.proto=$module/pb" \
    "qbft/v1/$name.proto"
  shift
done
${PROTOC:-protoc} -I ../../../../proto \
  --plugin="protoc-gen-go=$(go tool -n protoc-gen-go)" --go_out=. --go_opt="module=$module" \
  --plugin="protoc-gen-go-grpc=$(go tool -n protoc-gen-go-grpc)" --go-grpc_out=. --go-grpc_opt="module=$module" \
  "$@"
