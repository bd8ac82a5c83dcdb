"""The gRPC services that a node offers to clients and to its operator."""
