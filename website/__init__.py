"""Builds the documentation as a site: docs/ and the README as they are, and what the code tells by itself."""
