"""Calls of helpers that become calls of a function of the kernel, and numbers that become others."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from kmemtrace.kernel.instructions import calling, putting_in

_FUNCTION = 100_003
_CALL, _LOAD_64 = 0x85, 0x18


def instruction(code: int, registers: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, registers, 0, value)


OTHERS = st.one_of(
    st.builds(instruction, st.integers(0, 255).filter(lambda code: code not in (_CALL, _LOAD_64))),
    st.builds(lambda number: instruction(_CALL, 0, number), st.integers(1, 300)),
    st.builds(  # a number of 64 bits that looks like such a call, in one half and across both
        lambda low, high: instruction(_LOAD_64, 0, low) + instruction(0, 0, high),
        st.sampled_from((_CALL, _FUNCTION)),
        st.sampled_from((_CALL, _FUNCTION)),
    ),
)
WANTED = st.just(instruction(_CALL, 0, _FUNCTION))


@given(st.lists(st.one_of(OTHERS, WANTED)))
def test_the_calls_of_that_number_alone_are_changed(code: list[bytes]) -> None:
    changed = calling(b"".join(code), _FUNCTION)
    before, after = (
        [whole[at : at + 8] for at in range(0, len(whole), 8)] for whole in (b"".join(code), changed)
    )
    call, other = instruction(_CALL, 0, _FUNCTION), instruction(_CALL, 2 << 4, _FUNCTION)
    assert after == [other if one == call else one for one in before]


def load(number: int, source: int = 0) -> bytes:
    """Loads 64 bits, which are a number by source 0."""
    low, high = struct.pack("=Q", number)[:4], struct.pack("=Q", number)[4:]
    return struct.pack("=BBh4s", _LOAD_64, 3 | source << 4, 0, low) + struct.pack("=BBh4s", 0, 0, 0, high)


MARKS = {0x6B6D_0000_0000_0018: 7, 0x6B6D_0000_0000_0019: (1 << 64) - 1}
LOADS = st.one_of(
    st.tuples(st.sampled_from(list(MARKS)), st.integers(0, 2)),
    st.tuples(st.integers(0, (1 << 64) - 1), st.integers(0, 2)),
    st.tuples(st.just(_LOAD_64 << 32), st.integers(0, 2)),  # as if another load began in its second half
)


@given(st.lists(LOADS))
def test_those_numbers_alone_are_put_in(loads: list[tuple[int, int]]) -> None:
    before = b"".join(load(number, source) + instruction(0xB7) for number, source in loads)
    wanted = [(number if source else MARKS.get(number, number), source) for number, source in loads]
    assert putting_in(before, MARKS) == b"".join(load(*one) + instruction(0xB7) for one in wanted)
