"""Lines that are remembered are those that prometheus-client would make, whatever came before."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from kmemtrace.exporter.encoding import Encode, Encoder, Fixed
from kmemtrace.exporter.metrics import families
from kmemtrace.exporter.series import MOST_BYTES, Selection
from kmemtrace.exporter.told import Told
from kmemtrace.model.enums import CgroupState
from kmemtrace.model.snapshot import Cgroup, Snapshot
from tests.sample import cgroup, counted, mismatch, site, snapshot

_OF_THIS_PROCESS = re.compile(rb"^(# \w+ )?(process_|# EOF).*\n", re.MULTILINE)
_CHANGES = st.tuples(
    st.sampled_from(["/a", "/b", "/b\n", '/"\\', "/c\r/d", "/docker/" + 64 * "7"]),
    st.integers(0, 3),
    st.booleans(),
)


def told(of: Snapshot, selection: Selection) -> Told:
    return Told(of, selection.update(of), (), None, 3, MOST_BYTES, 1, 0.5)


def plain(of: Told, encode: Encode) -> bytes:
    """What is made without a memory."""
    registry = CollectorRegistry()
    registry.register(Fixed(families(of)))
    return _OF_THIS_PROCESS.sub(b"", encode(registry))


def _made(changes: list[tuple[str, int, bool]]) -> Snapshot:
    """A cgroup for each change; a removed one beside one that lives may have the same path."""
    found: dict[tuple[str, bool], Cgroup] = {}
    for path, pages, dead in changes:
        one = cgroup(path, (site(9 + pages, pages),), id=1 + len(found), dead=dead)
        found[path, dead] = one
    return snapshot(*found.values())


@pytest.mark.parametrize("encode", [generate_latest, openmetrics])
@given(st.lists(st.lists(_CHANGES, max_size=6), max_size=5))
@settings(max_examples=40, deadline=None)
def test_a_page_is_as_without_a_memory(encode: Encode, changes: list[list[tuple[str, int, bool]]]) -> None:
    selection, encoder = Selection(3), Encoder(encode)
    for one in changes:
        of = told(_made(one), selection)
        assert _OF_THIS_PROCESS.sub(b"", encoder.page(of)) == plain(of, encode)


@pytest.mark.parametrize("encode", [generate_latest, openmetrics])
def test_accounts_and_mismatches_too(encode: Encode) -> None:
    """Once all is new, once nothing is, once a cgroup has gone, and once all are there again."""
    selection, encoder = Selection(3), Encoder(encode)
    whole = dataclasses.replace(counted(), mismatches=(mismatch(),))
    fewer = dataclasses.replace(
        whole, cgroups=tuple(dataclasses.replace(c, state=CgroupState.GONE) for c in whole.cgroups[:1])
    )
    for one in (whole, whole, fewer, whole):
        of = told(one, selection)
        assert _OF_THIS_PROCESS.sub(b"", encoder.page(of)) == plain(of, encode)
