"""The replica: everything that decides what a node may say, around the engines that decide."""
