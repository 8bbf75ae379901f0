"""A program: makes memory cgroups in a folder, is charged in each, leaves and removes it, until SIGTERM.

It prints how many. Without a fork, and in a small process of its own: forking a shell's commands under load,
an emulated guest made fewer than one a second.
"""

import os
import signal
import sys
import time

_PAUSE_SECONDS = 0.1


def one(folder: str, home: str) -> None:
    os.mkdir(folder)  # noqa: PTH102 pathlib takes longer to import than all else here
    _join(folder)
    read, write = os.pipe()
    os.write(write, bytes(60_000))
    os.close(read)
    os.close(write)
    _join(home)
    os.rmdir(folder)  # noqa: PTH106


def _join(folder: str) -> None:
    with open(f"{folder}/cgroup.procs", "w") as file:  # noqa: PTH123
        file.write("0")


def main() -> None:
    parent, home = sys.argv[1:]
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    made = 0
    while not ended:
        one(f"{parent}/{made}", home)
        made += 1
        time.sleep(_PAUSE_SECONDS)
    print(made)


if __name__ == "__main__":
    main()
