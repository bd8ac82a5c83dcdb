"""The simulator: shipped replicas on a virtual clock, a pretended network and pretended disks."""
