"""Plain data that every output takes: no I/O, no BCC type, nothing of ours imported."""
