"""Tells what of the kernel's memory programs load, instead of having a helper read each word."""

from kmemtrace.kernel.facts import Facts, version
from kmemtrace.kernel.layout import Defines

_GUARDED_LOADS_SINCE = (6, 10)
"""They all have 66e13b615a0c, from when on a load of user space's memory gives 0 on all machines; before,
only the kernel's compiler for x86 saw to that."""


def loads(facts: Facts, offered: Defines, *, helpers: bool) -> Defines:
    """Returns the constants by which programs load memory; nothing where they have helpers read all of it.

    Args:
        facts: What is known of the kernel.
        offered: Where things lie; nothing where nothing can be traced.
        helpers: Whether no more is loaded than kernels before 6.2 let programs load.
    """
    guarded = facts.machine == "x86_64" or version(facts.release) >= _GUARDED_LOADS_SINCE
    cast = facts.cast() if guarded and not helpers else None
    if cast is not None:
        return {"CAST_FUNCTION": cast.function, "CAST_STRUCT": cast.struct}
    task = facts.typed_task(_way_to_own_cgroup(offered)) if offered else None
    return {} if task is None else {"TASK_FUNCTION": task}


def _way_to_own_cgroup(offered: Defines) -> tuple[int, ...]:
    """Returns where the current task, and what it leads to, point to its memcg's cgroup's id."""
    at = {name: int(value) for name, value in offered.items() if name.startswith("OFF_")}
    in_css = at["OFF_MEMCG_CGROUP"] - at["OFF_MEMCG_CSS"]
    return (at["OFF_TASK_CGROUPS"], at["OFF_CSS_SET_MEMORY"], in_css, at["OFF_CGROUP_KN"], at["OFF_KN_ID"])
