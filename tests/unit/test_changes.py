"""What two moments have apart is told by the objects in them, however these are mixed."""

from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.model.changes import changes

_THINGS = [[number % 3] for number in range(12)]
"""Some are equal, and none is another one."""
_moments = st.lists(st.sampled_from(range(len(_THINGS))), unique=True)


@given(_moments, _moments)
def test_what_is_in_one_alone_is_told_in_its_order(before: list[int], now: list[int]) -> None:
    left, come = changes([_THINGS[n] for n in before], [_THINGS[n] for n in now])
    assert list(map(id, left)) == [id(_THINGS[n]) for n in before if n not in now]
    assert list(map(id, come)) == [id(_THINGS[n]) for n in now if n not in before]


def test_nothing_changes_while_it_is_the_same_moment() -> None:
    moment = tuple(_THINGS)
    assert changes(moment, moment) == ([], [])
