"""Exports to Prometheus: Snapshots in, metrics out."""
