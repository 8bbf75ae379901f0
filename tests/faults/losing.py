"""Allocates blocks of eight pages and frees each while somebody holds a reference to its first page, so that
seven of them are never uncharged; or, to compare, in ways that lose nothing.

python -m tests.faults.losing FOLDER_SHARED_WITH_THE_INJECTOR BLOCKS [held|compound|alone]
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.faults.faults import lose_seven
from tests.faults.kernel import Kernel


def compound(kernel: Kernel) -> None:
    """The same of a block that knows its size: the last to let go frees and uncharges all of it."""
    page = kernel.alloc(3, compound=True)
    kernel.set_refcount(page, 2)
    kernel.free(page, 3)
    kernel.put(page)


def alone(kernel: Kernel) -> None:
    """Nobody else refers to the block."""
    kernel.free(kernel.alloc(3), 3)


WAYS: Mapping[str, Callable[[Kernel], object]] = {"held": lose_seven, "compound": compound, "alone": alone}


def main(shared: Path, blocks: int, way: str = "held") -> None:
    kernel = Kernel(shared)
    for _ in range(blocks):
        WAYS[way](kernel)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
