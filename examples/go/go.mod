module example.org/qbft

go 1.21
