"""docs/analysis.md: its columns are the schema's, its examples print what they say, on the sample."""

import doctest
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import kmemtrace
from kmemtrace.recording.folder import named
from kmemtrace.recording.load import DERIVED, DTYPES
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.schema import SCHEMA_VERSION, TABLES, Table

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "analysis.md"
SAMPLE = named(Path("sample"))


def dtype(type_: object) -> str:
    if pa.types.is_timestamp(type_):
        return "datetime64[ns, UTC]"
    return str(DTYPES[type_]) if type_ in DTYPES else "object"


def documented(table: Table) -> list[str]:
    """The lines of the document for a table's own columns; those that all have stand once, above."""
    shared = {"run", "moment", "time", "present"}
    lines = []
    for column in table.columns:
        if column.name not in shared:
            name = f"**`{column.name}`**" if column in table.keys else f"`{column.name}`"
            lines.append(f"| {name} | {column.type} | {dtype(column.type)} | {column.meaning} |")
    return lines


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_is_described(table: Table) -> None:
    _, heading, after = DOCUMENT.read_text().partition(f"### `{table.name}`\n")
    assert heading, f"no section for {table.name}"
    section = after.partition("\n### ")[0]
    assert table.meaning in section
    assert [line for line in section.splitlines() if line.startswith(("| `", "| **`"))] == documented(table)
    for name in DERIVED.get(table.name, ()):
        assert f"`{name}`" in section.partition("\n|")[0], "what load() adds"


def test_its_examples_print_what_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for host in ("web-1", "web-2"):
        shutil.copytree(SAMPLE, tmp_path / "hosts" / host)
    monkeypatch.chdir(tmp_path)
    with pd.option_context("display.width", 110, "display.max_columns", 20):
        failed, tried = doctest.testfile(
            str(DOCUMENT), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
        )
    assert tried > 5
    assert failed == 0


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_dtypes_are_those_that_it_names(table: Table) -> None:
    """Also of a table without rows."""
    frame = getattr(kmemtrace.load(SAMPLE), table.name)
    expected = {column.name: dtype(column.type) for column in table.columns}
    assert {name: str(frame[name].dtype) for name in expected} == expected
    assert set(frame.columns) == set(expected) | set(DERIVED.get(table.name, ()))


def test_the_sample_is_of_this_schema() -> None:
    found = kmemtrace.load(SAMPLE)
    assert found.meta["schema_version"] == SCHEMA_VERSION
    assert len(found.snapshots) == len(list(snapshots(SAMPLE)))


def test_what_load_adds_is_what_snapshots_say() -> None:
    found, newest = kmemtrace.load(SAMPLE), list(snapshots(SAMPLE))[-1]
    state = found.state("cgroups").set_index("path")
    assert len(state) == len(newest.cgroups)
    for cgroup in newest.cgroups:
        row = state.loc[cgroup.path]
        assert (row["held_pages"], row["held_bytes"]) == (cgroup.held_pages, 4096 * cgroup.held_pages)
        assert cgroup.account is not None
        assert row["account_unexplained_bytes"] == cgroup.account.unexplained_bytes
    latencies = found.state("latencies").set_index("path")
    for cgroup in newest.cgroups:
        for histogram in cgroup.latency.values():
            row = latencies.loc[cgroup.path]
            assert row["count"] == histogram.count
            for name, quantile in (("p50_seconds", 0.5), ("p99_seconds", 0.99)):
                expected = histogram.quantile_seconds(quantile)
                assert (None if row[name] is pd.NA else row[name]) == expected
            assert np.array_equal(row["counts"], histogram.counts)


def test_the_state_at_any_moment_is_that_of_the_snapshot_then() -> None:
    found = kmemtrace.load(SAMPLE)
    for time, snapshot in zip(found.snapshots["time"], snapshots(SAMPLE), strict=True):
        rows = found.state("cgroups", time).set_index("path")["charged_pages"]
        assert dict(rows) == {c.path: c.charged_pages for c in snapshot.cgroups}
        sites = found.state("sites", time)["held_pages"].sum()
        assert sites == sum(s.held_pages for c in snapshot.cgroups for s in c.sites)


def test_a_state_that_there_is_not() -> None:
    found = kmemtrace.load(SAMPLE)
    with pytest.raises(ValueError, match="nothing was recorded by 1999"):
        found.state("cgroups", "1999-01-01")
    with pytest.raises(KeyError, match="stacks"):
        found.state("stacks")
