"""Text as Markdown that says just that."""

import re


def escape(text: str) -> str:
    """Text that shows as it is, but for what stands in `backticks`, which is code."""
    parts = re.split(r"(`[^`\n]+`)", text)
    return "".join(
        part if part.startswith("`") and len(part) > 1 else re.sub(r"([\\`*_<>\[\]|{}$~#])", r"\\\1", part)
        for part in parts
    )
