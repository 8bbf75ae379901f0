"""Snapshots on a terminal: a live view, and plain frames."""
