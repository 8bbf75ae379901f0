"""The Prometheus exporter: Snapshots in, metrics out."""
