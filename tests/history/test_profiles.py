"""CSV, folded stacks, speedscope and pprof: each has all that call sites hold and were charged."""

import csv
import io
import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kmemtrace.history.history import History, read
from kmemtrace.history.pprof import pprof
from kmemtrace.history.profiles import as_csv, folded, speedscope
from kmemtrace.history.samples import Sample, Value, samples
from kmemtrace.recording.reader import snapshots
from tests.history.profile_proto import parsed
from tests.history.recorded import SAMPLE, machine, record
from tests.sample import cgroup, site, snapshot

HOSTILE = "/pods/a;b <script>\x1b[31m\u2028 c"


@pytest.fixture(scope="module")
def history() -> History:
    return read(SAMPLE, 10)


@pytest.fixture(scope="module")
def found(history: History) -> list[Sample]:
    return samples(history)


def by_cgroup(rows: list[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, size in rows:
        sums[name] += size
    return {name: size for name, size in sums.items() if size}


def expected(value: Value) -> dict[str, int]:
    """In bytes, by cgroup, of the sample, which begins with its run."""
    last = list(snapshots(SAMPLE))[-1]
    pages = {
        c.path: sum(getattr(s, f"{value}_pages") for s in c.sites) * last.page_size for c in last.cgroups
    }
    return {path: size for path, size in pages.items() if size}


@pytest.mark.parametrize("value", Value)
def test_csv(found: list[Sample], value: Value) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(rows) == len(found)
    sums = by_cgroup([(row["cgroup"], int(row[f"{value}_bytes"])) for row in rows])
    assert sums == expected(value)
    top = rows[0]
    assert (top["kind"], top["symbol"], top["state"]) == ("pipe", "anon_pipe_write", "online")
    assert top["stack"].split(";")[3].startswith("anon_pipe_write+0x")


@pytest.mark.parametrize("value", Value)
def test_folded(found: list[Sample], value: Value) -> None:
    lines = [line.rsplit(" ", 1) for line in folded(found, value, 4096).splitlines()]
    assert by_cgroup([(line[0].split(";")[0], 4096 * int(line[1])) for line in lines]) == expected(value)
    assert all("+0x" not in stack for stack, _ in lines)
    assert lines[0][0].split(";")[-1] == "__alloc_frozen_pages_noprof", "innermost last"


def test_speedscope(found: list[Sample]) -> None:
    told = json.loads(speedscope(found, "a name"))
    jsonschema.validate(told, SPEEDSCOPE)
    names = [frame["name"] for frame in told["shared"]["frames"]]
    for profile, value in zip(told["profiles"], Value, strict=True):
        assert profile["name"] == value.value
        rows = [(names[s[0]], w) for s, w in zip(profile["samples"], profile["weights"], strict=True)]
        assert by_cgroup(rows) == expected(value)
        assert profile["endValue"] == sum(profile["weights"])


def test_pprof_as_googles_library_reads_it(history: History, found: list[Sample]) -> None:
    profile = parsed(pprof(found, begin=1000.5, end=1060.5, page_size=4096, comment="what it is"))
    text = profile.string_table
    assert text[0] == ""
    types = [(text[one.type], text[one.unit]) for one in profile.sample_type]
    assert types == [("held", "bytes"), ("charged", "bytes"), ("uncharged", "bytes")]
    assert text[profile.default_sample_type] == "held"
    assert (profile.time_nanos, profile.duration_nanos) == (1_000_500_000_000, 60_000_000_000)
    assert (text[profile.period_type.type], text[profile.period_type.unit]) == ("space", "bytes")
    assert profile.period == 4096
    assert [text[one] for one in profile.comment] == ["what it is"]
    functions = {one.id: text[one.name] for one in profile.function}
    locations = {one.id: functions[one.line[0].function_id] for one in profile.location}
    assert 0 not in locations
    assert len(set(functions.values())) == len(functions)
    assert {one.mapping_id for one in profile.location} == {one.id for one in profile.mapping}
    assert len(profile.sample) == len(found)
    for told, one in zip(profile.sample, found, strict=True):
        assert list(told.value) == [one.held, one.charged, one.uncharged]
        assert tuple(locations[place] for place in reversed(told.location_id)) == one.functions
        labels = {text[label.key]: text[label.str] for label in told.label}
        assert labels == {"cgroup": one.cgroup, "kind": one.kind, "state": one.state}


def test_numbers_of_all_sizes_come_back() -> None:
    sizes = [0, 1, 127, 128, 16_383, 16_384, 2**31, 2**62, -4096]
    found = [Sample("/a", "online", "pipe", "f", (), size, size + 1, 0) for size in sizes]
    profile = parsed(pprof(found, begin=0.0, end=0.0, page_size=65_536, comment=""))
    assert [list(one.value) for one in profile.sample] == [[size, size + 1, 0] for size in sizes]


def test_names_that_others_chose_are_inert(tmp_path: Path) -> None:
    sites = (site(5, stack=()), site(7))
    record(tmp_path / "r", [snapshot(cgroup(HOSTILE, sites), cgroup("=cmd|' /C calc'!A0", sites))])
    found = samples(read(tmp_path / "r", 2))
    lines = folded(found, Value.HELD, 4096).splitlines()
    assert len(lines) == 4
    assert {len(line.rsplit(" ", 1)[0].split(";")) for line in lines} == {2, 7}
    for told in (folded(found, Value.HELD, 4096), as_csv(found), speedscope(found, "")):
        assert "\x1b" not in told
        assert "\u2028" not in told
    names = {row["cgroup"] for row in csv.DictReader(io.StringIO(as_csv(found)))}
    assert all(name[0] in "/'" for name in names), "no spreadsheet takes it for a formula"
    profile = parsed(pprof(found, begin=0, end=1, page_size=4096, comment=""))
    assert not any("\x1b" in text for text in profile.string_table)


def test_what_was_charged_before_the_range_is_held_and_not_charged(tmp_path: Path) -> None:
    record(tmp_path / "r", islice(machine(3), 20))
    found = samples(read(tmp_path / "r", 5, since="20:26:50"))
    counter = next(one for one in found if one.cgroup == "/counter")
    assert (counter.held, counter.charged, counter.uncharged) == (1019 * 4096, 9 * 4096, 0)


# What https://www.speedscope.app/file-format-schema.json asks of a file with sampled profiles.
_TEXT, _SIZE = {"type": "string"}, {"type": "number"}
_STACK = {"type": "array", "items": {"type": "integer", "minimum": 0}}
SPEEDSCOPE: dict[str, Any] = {
    "type": "object",
    "required": ["$schema", "profiles", "shared"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "activeProfileIndex": _SIZE,
        "exporter": _TEXT,
        "name": _TEXT,
        "shared": {
            "type": "object",
            "required": ["frames"],
            "properties": {
                "frames": {
                    "type": "array",
                    "items": {"type": "object", "required": ["name"], "properties": {"name": _TEXT}},
                }
            },
        },
        "profiles": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
                "properties": {
                    "type": {"const": "sampled"},
                    "name": _TEXT,
                    "unit": {
                        "enum": ["bytes", "microseconds", "milliseconds", "nanoseconds", "none", "seconds"]
                    },
                    "startValue": _SIZE,
                    "endValue": _SIZE,
                    "samples": {"type": "array", "items": _STACK},
                    "weights": {"type": "array", "items": _SIZE},
                },
            },
        },
    },
}
