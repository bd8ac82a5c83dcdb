"""Ordered topics on a node: what its clients append, batched and proposed (docs/adr/017)."""
