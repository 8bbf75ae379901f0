"""Tells where the processes went that this process started, once they left the traced cgroup.

That includes those that these started.
"""

from collections.abc import Callable

from kmemtrace.cgroups.paths import CgroupPaths
from kmemtrace.kernel.test_run import test_run
from kmemtrace.model.verification import Departure
from kmemtrace.tracer.capacity import MAX_DEPARTURES
from kmemtrace.tracer.maps import HashMap
from kmemtrace.tracer.structs import DEPARTURE, ID


class Departures:
    """Reads the map `departures`."""

    def __init__(self, program: Callable[[str], int], fd: int, paths: CgroupPaths) -> None:
        """Prepares to read; `program` gives the descriptor of a BPF function, `fd` is the map's."""
        self._program, self._paths = program, paths
        self._map = HashMap(fd, ID, DEPARTURE, MAX_DEPARTURES)

    def begin(self) -> None:
        """Tells the programs which process they run for; it has to be called before any is attached."""
        test_run(self._program("know_us"))

    def read(self) -> tuple[Departure, ...]:
        """Returns a departure for each cgroup, those with most processes first."""
        found = []
        for cgroup_id, one in zip(*self._map.read(), strict=True):
            path = _text(one["path"])
            if path:
                self._paths.remember(int(cgroup_id), path)
            known = self._paths.resolve(int(cgroup_id)).path or f"(id {cgroup_id})"
            found.append(
                Departure(int(cgroup_id), known, int(one["processes"]), _text(one["comm"]), int(one["tgid"]))
            )
        return tuple(sorted(found, key=lambda one: (-one.processes, one.path)))


def _text(field: bytes) -> str:
    # What lies behind the NUL is a longer one's: the buffer is used again and again.
    return bytes(field).partition(b"\0")[0].decode(errors="backslashreplace")
