"""Defines the colours.

Each says what a word or a sign beside it says too: there may be none (NO_COLOR), and the terminal's own
sixteen are used, so that they can be read on dark and on light ones.
"""

from rich.style import Style

PLAIN = Style()
FAINT = Style(dim=True)
"""For what need not be seen: zeros, and what is usual."""
HEADING, SORTED = Style(bold=True), Style(bold=True, reverse=True)
SELECTED = Style(reverse=True)
STRONG = Style(bold=True)
DEAD = Style(color="magenta", bold=True)
"""For a removed cgroup that holds memory, which is what this tool is for."""
GROWING, SHRINKING = Style(color="red"), Style(color="green")
FAILED = Style(color="red", bold=True)
BROKEN = Style(color="white", bgcolor="red", bold=True)
"""For a charge that broke the promise."""
LOST = Style(color="black", bgcolor="yellow", bold=True, dim=False)
"""For where something was missed, so that what else is shown is not all."""
FROZEN = Style(bold=True, reverse=True)
KEY = Style(bold=True, dim=False)
"""For what to press, in a line that is faint."""
