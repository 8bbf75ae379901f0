"""kmemtrace as a process on hosts that are booted or set up in other ways: guests/setups.py."""
