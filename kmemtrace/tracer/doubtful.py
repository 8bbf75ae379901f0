"""Moves pages that the programs count as lost, but whose uncharge may only have been missed."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from kmemtrace.tracer.maps import Records
from kmemtrace.tracer.verdicts import Place


def count_as_uncharged(
    doubtful: Mapping[Place, int], sites: tuple[Records, Records], cgroups: tuple[Records, Records]
) -> None:
    """Moves pages, in what was read of the maps, from lost to uncharged: what is called lost is certain.

    A suspect may be newer than the reading, which then has less to move.
    """
    if not doubtful:
        return
    by_cgroup: dict[int, int] = defaultdict(int)
    for (cgroup_id, _stack), pages in doubtful.items():
        by_cgroup[cgroup_id] += pages
    keys, of_sites = sites
    for at, place in enumerate(zip(keys["cgroup"].tolist(), keys["stack"].tolist(), strict=True)):
        _move(of_sites[at : at + 1], doubtful.get(place, 0))
    ids, totals = cgroups
    for at, cgroup_id in enumerate(ids.tolist()):
        _move(totals[at : at + 1], by_cgroup.get(cgroup_id, 0))


def _move(sums: Records, pages: int) -> None:
    if pages:
        moved = min(pages, int(sums["lost"][0]))
        sums["lost"] -= np.uint64(moved)
        sums["uncharged"] += np.uint64(moved)
