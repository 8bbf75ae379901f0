"""A command for `kmemtrace verify` to catch: frees blocks of eight pages while somebody holds a reference to
the first, so that seven of them are never uncharged.

python -m tests.faults.losing FOLDER_SHARED_WITH_THE_INJECTOR BLOCKS
"""

import sys
from pathlib import Path

from tests.faults.faults import lose_seven
from tests.faults.kernel import Kernel


def main(shared: Path, blocks: int) -> None:
    kernel = Kernel(shared)
    for _ in range(blocks):
        lose_seven(kernel)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
