"""Writes the manual pages and the completions in share/, from the parsers of the command line."""
