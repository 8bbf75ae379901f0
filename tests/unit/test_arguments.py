"""The values of options, as a user writes them."""

import argparse
import subprocess
import sys
from typing import cast

import pytest

from kmemtrace.commands import parser
from kmemtrace.commands.arguments import duration
from kmemtrace.commands.summaries import SUMMARIES


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("2.5", 2.5),
        (".5", 0.5),
        ("90s", 90.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h30m5s250ms", 5405.25),
        ("1m30", None),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("1d12h", 129_600.0),
        ("366d", 366 * 86_400.0),
        ("367d", None),
        ("10ms", None),
        ("0", None),
        ("-5s", None),
        ("5 s", None),
        ("5 weeks", None),
        ("5w", None),
        ("s", None),
        ("", None),
        ("30m1h", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    if seconds is not None:
        assert duration(text) == pytest.approx(seconds)
        return
    with pytest.raises(argparse.ArgumentTypeError) as told:
        duration(text)
    assert repr(text) in str(told.value)


def _command(name: str) -> argparse.ArgumentParser:
    (commands,) = (a for a in parser({name})._actions if isinstance(a, argparse._SubParsersAction))
    return cast("argparse.ArgumentParser", commands.choices[name])


def test_the_list_of_commands_takes_none_of_their_modules() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kmemtrace", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kmemtrace.commands" in imported
    assert not imported & {"numpy", "aiohttp", *(f"kmemtrace.commands.{name}" for name in SUMMARIES)}
    assert [name for name in SUMMARIES if f"\n    {name} " in done.stdout] == list(SUMMARIES)


def test_every_option_that_takes_a_time_takes_the_same_words() -> None:
    """Each is found by what its help says, so that a new one is, too."""

    def parsed(*given: str) -> argparse.Namespace:
        return parser({given[0]}).parse_args(given)

    assert parsed("top", "--interval", "500ms", "--duration", "1m30s").duration == 90.0
    assert parsed("leaks", "--older-than", "1m", "--duration", "1h").duration == 3600.0
    assert parsed("verify", "--duration", "2m", "--drain", "500ms").drain == 0.5
    options = [action for name in SUMMARIES for action in _command(name)._actions]
    times = [action for action in options if action.metavar in ("S", "AGE", "SECONDS", "DURATION")]
    assert len(times) >= 6
    assert {action.type for action in times} == {duration}
