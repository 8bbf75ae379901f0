"""All that is in share/, which a package installs as it is."""

from pathlib import Path

from manual.completions import completions
from manual.pages import SECTION, pages

SHARE = Path(__file__).parents[1] / "share"


def texts() -> dict[str, str]:
    """The text of every file, by its path below share/."""
    return {f"man/man{SECTION}/{name}": text for name, text in pages().items()} | completions()
