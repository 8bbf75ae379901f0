"""What a recording tells over time: its report in the terminal, as profiles and as a page."""
