"""kmemtrace: whose kernel memory every page is, and whether every charge comes back."""

__version__ = "0.1.0"
