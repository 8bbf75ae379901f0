"""Call sites that differ in nothing are one."""

import dataclasses

from kmemtrace.model.enums import SiteKind
from kmemtrace.model.snapshot import Site, added_sites

PIPE = Site(SiteKind.PIPE, "pipe_write", ("pipe_write+0x1",), 7, 2)


def test_pages_of_one_stack_are_added_up() -> None:
    more = dataclasses.replace(PIPE, charged_pages=11, uncharged_pages=3, lost_pages=5, preexisting_pages=13)
    (one,) = added_sites([PIPE, more])
    counts = (one.charged_pages, one.uncharged_pages, one.lost_pages, one.preexisting_pages)
    assert counts == (18, 5, 5, 13)


def test_what_could_not_be_seen_of_either_stays_unseen() -> None:
    (one,) = added_sites([PIPE, PIPE])
    assert one.lost_pages is None


def test_others_are_told_apart_most_held_first() -> None:
    others = (
        dataclasses.replace(PIPE, stack=("pipe_write+0x2",), charged_pages=17),
        dataclasses.replace(PIPE, symbol="anon_pipe_write", charged_pages=5),
        dataclasses.replace(PIPE, kind=SiteKind.OTHER, charged_pages=13),
    )
    assert [one.charged_pages for one in added_sites([PIPE, *others])] == [17, 13, 7, 5]
