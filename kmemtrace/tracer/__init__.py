"""Compiles, attaches, reads the maps into Snapshots, counts losses, and detaches."""
