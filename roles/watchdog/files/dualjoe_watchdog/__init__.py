"""The watchdog on T440: watches the nodes, keeps the record of who holds the lease, moves Joe, and tells people."""
