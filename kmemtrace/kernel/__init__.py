"""What this kernel offers, worked out once before anything is loaded."""
