"""Runs kmemtrace: python -m kmemtrace, and the script `kmemtrace`."""

import sys

from kmemtrace import console, limits


def start() -> int:
    console.prepare()
    return console.guarded(_main)


def _main() -> int:
    limits.require_to_begin()
    # Here, because it takes the longest: an interrupt or an error by then is told in a sentence.
    from kmemtrace.commands import main  # noqa: PLC0415

    return main()


if __name__ == "__main__":
    sys.exit(start())
