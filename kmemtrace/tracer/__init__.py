"""Compile, attach, read the maps into Snapshots, count losses, detach."""
