"""What was missed between two moments, from readings of the count."""

import pytest

from kmemtrace.tracer.missed import Missed

READINGS = [(10.0, 0), (20.0, 0), (30.0, 4), (40.0, 4), (50.0, 5)]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (11.0, 12.0, 0),
        (10.0, 20.0, 0),
        (20.0, 21.0, 4),  # the next reading is the first that could tell
        (19.0, 25.0, 4),
        (30.0, 40.0, 0),
        (31.0, 45.0, 1),
        (5.0, 6.0, 0),  # before the first reading nothing is subtracted
        (5.0, 35.0, 4),
        (45.0, 60.0, 1),  # after the last one: as far as is known
        (50.0, 60.0, 0),
    ],
)
def test_between(begin: float, end: float, expected: int) -> None:
    missed = Missed()
    for time, count in READINGS:
        missed.note(time, count)
    assert missed.between(begin, end) == expected


def test_what_is_too_long_ago_counts_in_full() -> None:
    missed = Missed()
    for time in range(6000):
        missed.note(float(time), time)
    assert missed.between(1.0, 5999.0) == 5999
    assert missed.between(5990.0, 5999.0) == 9
