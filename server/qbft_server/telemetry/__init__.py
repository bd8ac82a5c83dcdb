"""What a node tells its operator: metrics; logs are in `qbft_server.logs`."""
