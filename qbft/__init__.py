"""qbft: Byzantine-fault-tolerant agreement on exactly one value per instance.

`qbft.core` is the algorithm, a pure state machine; `run` drives one instance of it over any
`Transport`; `qbft.replica` drives many with a vote journal; `qbft.verify` checks a certificate
offline.
"""
