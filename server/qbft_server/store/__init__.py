"""The node's disk: the vote journal (append-only segments) and the decisions (SQLite)."""
