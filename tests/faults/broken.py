"""A command for `kmemtrace verify` to catch: breaks the promise in the cgroup that it runs in.

python -m tests.faults.broken FOLDER_SHARED_WITH_THE_INJECTOR CGROUP_OF_ANOTHER
"""

import sys
from pathlib import Path

from tests.faults.conftest import run
from tests.faults.kernel import Kernel

DRIFT = 1009
"""Pages that the cgroup's counter moves by, without a page."""


def main(shared: Path, other: Path) -> None:
    kernel = Kernel(shared)
    theirs = run(other, kernel.alloc)
    page = kernel.alloc()
    kernel.call(kernel.address("page_counter_charge"), kernel.memory_counter(page), DRIFT)
    kernel.swap_owners(page, theirs)
    kernel.free(page)
    kernel.free(theirs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
