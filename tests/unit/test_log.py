"""What the exporter says while it runs: a line of each kind a minute, however many there were."""

import logging

import pytest

from kmemtrace.exporter.log import MINUTE, Level, Log


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_one_line_a_kind_and_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(clock=clock)
    for number in range(1000):
        log.complain(Level.WARN, "kind", f"no {number}")
        log.flush()
        clock.now += MINUTE / 1001
    log.complain(Level.WARN, "other", "another")
    assert capsys.readouterr().err.splitlines() == ["kmemtrace: no 0", "kmemtrace: another"]
    clock.now = 1000.0 + MINUTE
    log.flush()
    assert capsys.readouterr().err == "kmemtrace: no 999 (999 more of this kind since the line before)\n"
    clock.now += 2 * MINUTE
    log.flush()
    assert capsys.readouterr().err == "", "there were none"
    log.complain(Level.WARN, "kind", "again")
    log.complain(Level.WARN, "kind", "and again")
    log.flush(now=True)
    assert capsys.readouterr().err.splitlines() == [
        "kmemtrace: again",
        "kmemtrace: and again (once more since the line before)",
    ]


def test_lines_are_bounded_and_do_not_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Log().complain(Level.ERROR, "kind", "a\nkmemtrace: \x1b[2J" + "x" * 10_000)
    said = capsys.readouterr().err
    assert len(said) < 400
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_kinds_that_are_made_up_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    for number in range(10_000):
        log.complain(Level.WARN, f"kind {number}", "words")
    log.flush(now=True)
    assert len(capsys.readouterr().err.splitlines()) < 100


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(Level.WARN)
    log.tell(Level.INFO, "serving")
    log.complain(Level.INFO, "kind", "seen")
    log.tell(Level.WARN, "evidence")
    log.complain(Level.ERROR, "kind", "failed")
    assert capsys.readouterr().err.splitlines() == ["kmemtrace: evidence", "kmemtrace: failed"]


def test_what_libraries_log_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    with log.instead_of("kmemtrace-test-library"):
        for number in range(100):
            try:
                raise ValueError("of the kind")
            except ValueError:
                logging.getLogger("kmemtrace-test-library.part").exception("failed at %s", number)
    log.flush(now=True)
    first, rest = capsys.readouterr().err.splitlines()
    assert first == "kmemtrace: kmemtrace-test-library.part: failed at 0: ValueError: of the kind"
    assert rest.endswith("(99 more of this kind since the line before)")
    assert not logging.getLogger("kmemtrace-test-library").handlers
