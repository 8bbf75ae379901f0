"""That the evidence of what the exporter counts is in its log: once, and not without end."""

import dataclasses
import sys

import pytest

from kmemtrace.exporter.journal import MOST_KINDS, Journal
from kmemtrace.exporter.log import Log
from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.report.mismatch import lines
from tests.sample import busy, mismatch
from tests.web.conftest import Export
from tests.web.test_server import ask


def found(*mismatches: Mismatch) -> Snapshot:
    return dataclasses.replace(busy(), mismatches=mismatches)


def test_a_scrape_prints_what_it_counts(export: Export, capfd: pytest.CaptureFixture[str]) -> None:
    ask(export(read=lambda: found(mismatch())))
    said = capfd.readouterr().err.splitlines()
    assert said == [f"kmemtrace: mismatch: {lines(mismatch())[0]}", *lines(mismatch())[1:]]


def test_each_kind_once(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(Log())
    journal.tell(found(mismatch()))
    assert capsys.readouterr().err
    journal.tell(found(mismatch(count=4, time=1_780_000_000.0, page=0xFFFFEA0004002200)))
    assert capsys.readouterr().err == ""
    journal.tell(found(mismatch(count=4), mismatch(free_stack=("free_one+0x1",))))
    said = capsys.readouterr().err
    assert said.count("kmemtrace: mismatch") == 1
    assert "free_one+0x1" in said


def test_of_so_many_kinds_only(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(Log())
    kinds = [mismatch(charged_to=f"/{i}", confidence="suspect", first_time=i) for i in range(MOST_KINDS + 7)]
    journal.tell(found(*reversed(kinds)))
    heads = [line for line in capsys.readouterr().err.splitlines() if line.startswith("kmemtrace:")]
    assert len(heads) == MOST_KINDS + 1
    assert f"{MOST_KINDS} kinds that are suspect" in heads[-1]
    journal.tell(found(*kinds, mismatch()))
    said = capsys.readouterr().err
    assert said.startswith("kmemtrace: mismatch: wrong_cgroup: certain"), (
        "the suspect ones take no room of it"
    )
    assert said.count("kmemtrace:") == 1


def test_a_process_cannot_write_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Journal(Log()).tell(found(mismatch(comm="a\nkmemtrace: \x1b[2J")))
    said = capsys.readouterr().err
    assert said.count("\nkmemtrace:") == 0
    assert "\x1b" not in said


def test_a_log_that_is_gone_ends_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    Journal(Log()).tell(found(mismatch()))
