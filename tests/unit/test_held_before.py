"""What a row held in the frames before, which the sparklines draw."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmemtrace.model.rows import rows
from kmemtrace.model.snapshot import Cgroup
from kmemtrace.model.view import GroupBy, View
from kmemtrace.tui import history
from kmemtrace.tui.history import History
from tests.sample import cgroup, site, snapshot

_FRAME = st.dictionaries(st.sampled_from(["/a", "/a/b", "/c"]), st.integers(0, 3), max_size=3)
"""By path what is held; a path that is not there is of no cgroup."""


@given(st.lists(_FRAME, min_size=1, max_size=12), st.sampled_from([GroupBy.CGROUP, GroupBy.SITE]))
@settings(max_examples=150, deadline=None)
def test_held_is_what_each_frame_held(frames: list[dict[str, int]], by: GroupBy) -> None:
    """Of the last four, those in which it was not there included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_FRAMES", 4)
        told = History(by)
    there = dict[str, Cgroup]()
    for at, frame in enumerate(frames):
        there = {
            path: there[path]
            if path in there and there[path].held_pages == held
            else cgroup(path, (site(9 + held, 9, symbol=path),))
            for path, held in frame.items()
        }
        told.add(snapshot(*there.values(), time=1_780_000_000.0 + at))
    past, now = frames[-4:], snapshot(*there.values())
    for row in rows(now, None, View(by=by)):
        assert told.of(row, narrowed=False) == [frame.get(row.name, 0) for frame in past]
    for row in rows(now, None, View(tree=True, opened=frozenset())) if by is GroupBy.CGROUP else []:
        assert told.of(row, narrowed=False) == [sum(frame.values()) for frame in past]
    assert told.seconds(len(past)) == len(past) - 1
