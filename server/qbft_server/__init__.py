"""A node: the server around `qbft`, as deployed."""
