"""A vote key in a process of its own, with the guard beside it (docs/adr/015)."""
