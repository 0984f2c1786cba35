"""The guard: the only thing on a node that starts and stops the gateway. Standard library only."""
