"""The values of options, as a user writes them."""

import argparse

import pytest

from kmemtrace.commands import _parser
from kmemtrace.commands.arguments import duration


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


def test_every_option_that_takes_a_time_takes_the_same_words() -> None:
    """Each is found by what its help says, so that a new one is, too."""
    parsed = _parser().parse_args
    assert parsed(["top", "--interval", "500ms", "--duration", "1m30s"]).duration == 90.0
    assert parsed(["leaks", "--older-than", "1m", "--duration", "1h"]).duration == 3600.0
    assert parsed(["verify", "--duration", "2m", "--drain", "500ms"]).drain == 0.5
    (commands,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    options = [action for command in commands.choices.values() for action in command._actions]
    times = [action for action in options if action.metavar in ("S", "AGE", "SECONDS", "DURATION")]
    assert len(times) >= 6
    assert {action.type for action in times} == {duration}
