"""What lploss costs: in time, in memory, and beside a peer where one is installed."""
