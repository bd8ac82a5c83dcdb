"""Chaos: a cluster of real nodes under load and seeded faults, and a checker that misses nothing.

`plan` draws the faults, `relays` and `faults` carry them out, `load` asks and reads, `history` says
what was seen, `checker` judges it, of an ordered topic `log_checker`, `run` puts them together,
`report` tells. See docs/RELIABILITY.md. The idea is that of Jepsen and of etcd's robustness tests:
real processes, a history of what clients saw, and a judge that knows the promises and not the code.
"""
