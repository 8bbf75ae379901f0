"""Runs kmemtrace: python -m kmemtrace, and the script `kmemtrace`."""

import os
import sys

from kmemtrace import console, limits

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"


def start() -> int:
    console.prepare()
    return console.guarded(_main)


def _main() -> int:
    limits.require_to_begin()
    # numpy's library for linear algebra, which nothing of ours uses, takes memory for each CPU, and ends the
    # process where it gets none. What a command is run with is none of our business.
    given = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = "1"
    # Here, because it takes the longest: an interrupt or an error by then is told in a sentence.
    from kmemtrace.commands import main  # noqa: PLC0415

    if given is None:
        del os.environ[_BLAS_THREADS]
    else:
        os.environ[_BLAS_THREADS] = given

    return main()


if __name__ == "__main__":
    sys.exit(start())
