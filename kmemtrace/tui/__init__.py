"""Shows Snapshots on a terminal: in a live view, and as plain frames."""
