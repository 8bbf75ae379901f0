"""Recordings: Snapshots over time as Parquet files, and back."""
