"""The yardstick: this service and what a user would pick instead, under the same load.

`load` makes the load and the figures, `processes` starts and measures processes, `report` compares;
`ours`, `etcd` and `raft_in_python` are the systems.
"""
