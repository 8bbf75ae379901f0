"""What is learned of return addresses, from stacks that are laid out here."""

from collections.abc import Mapping

import numpy as np
import pytest

from kmemtrace.tracer.lessons import (
    END,
    REGISTERS,
    REGISTERS_CS,
    ROOT,
    Learned,
    Lesson,
    begins_where_hit,
    study,
)

A, B, C, D, ENTRY = 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
WORDS = 128


def lesson(
    learned: dict[int, Learned],
    *steps: tuple[int, int],
    left: Mapping[int, int] | None = None,
    cs: int = 0,
    whole: bool = True,
) -> None:
    """Studies a stack. `steps`: return addresses, each with its distance from the one before; `left`: what
    earlier calls left between, by place; `cs`: register of the exception that the stack ends with."""
    words, at, chain = np.zeros(WORDS, "u8"), 0, []
    for place, word in (left or {}).items():
        words[place] = word
    for address, step in steps:
        at += step
        words[at] = address
        chain.append(address)
    words[at + REGISTERS_CS] = cs
    study(learned, [Lesson(chain, words.tolist(), whole)])


def steps(learned: dict[int, Learned]) -> dict[int, int]:
    return {address: one.step for address, one in learned.items() if one.step}


def repeated(times: int, *chain: tuple[int, int], cs: int = 0) -> dict[int, Learned]:
    learned: dict[int, Learned] = {}
    for _ in range(times):
        lesson(learned, *chain, cs=cs)
    return learned


def test_an_address_is_learned_after_the_one_that_leads_to_it() -> None:
    chain = ((A, 9), (B, 12), (C, 5))
    learned: dict[int, Learned] = {}
    wanted = {ROOT: 9, A: 12, B: 5, C: END}
    seen = []
    for _ in range(12):
        lesson(learned, *chain)
        seen.append(len(steps(learned)))
    assert steps(learned) == wanted
    assert seen[1] == 0  # two lessons prove nothing
    assert seen == sorted(seen)


def test_lessons_of_one_time_teach_a_whole_path() -> None:
    """Three have to agree about each address, and eight that a stack ends where its frame moves."""
    words = np.zeros(WORDS, "u8")
    words[[9, 21, 26]] = A, B, C
    learned: dict[int, Learned] = {}
    study(learned, [Lesson((A, B, C), words.tolist(), True) for _ in range(2)])
    assert steps(learned) == {}
    study(learned, [Lesson((A, B, C), words.tolist(), True)])
    assert steps(learned) == {ROOT: 9}  # what the two could not say of A is gone with them
    study(learned, [Lesson((A, B, C), words.tolist(), True) for _ in range(3)])
    assert steps(learned) == {ROOT: 9, A: 12, B: 5, C: END}


def test_a_lesson_goes_on_when_another_has_shown_the_way() -> None:
    """Of three that stop at A, where B may be in two places, once three of another path tell which it is."""
    one, other = np.zeros((2, WORDS), "u8")
    one[[9, 21, 40, 26]] = A, B, B, D
    other[[9, 14, 26]] = C, A, B
    learned: dict[int, Learned] = {}
    lessons = [((A, B, D), one)] * 3 + [((C, A, B), other)] * 3
    study(
        learned,
        [Lesson(chain, words.tolist(), False, ROOT + i // 3) for i, (chain, words) in enumerate(lessons)],
    )
    assert steps(learned) == {ROOT: 9, ROOT + 1: 9, A: 12, C: 5, B: 5}


@pytest.mark.parametrize(("cs", "step"), [(0x33, REGISTERS), (0x23, REGISTERS), (0x10, END), (0, END)])
def test_a_stack_ends_where_the_user_was_left(cs: int, step: int) -> None:
    assert steps(repeated(9, (A, 9), (B, 3), cs=cs))[B] == step


def test_words_that_an_earlier_call_left_are_told_from_the_address() -> None:
    learned: dict[int, Learned] = {}
    for number in range(9):
        lesson(learned, (A, 9), (B, 12), (C, 5), left={13 + number: B})
    assert steps(learned)[A] == 12


def test_words_that_are_always_left_there_teach_nothing() -> None:
    learned: dict[int, Learned] = {}
    for _ in range(20):
        lesson(learned, (A, 9), (B, 12), left={15: B})
    assert steps(learned) == {ROOT: 9}


def test_a_frame_of_any_size_is_left_to_the_kernel() -> None:
    learned: dict[int, Learned] = {}
    for number in range(40):
        lesson(learned, (A, 9), (B, 12 + number % 7), (C, 5), (ENTRY, 3))
    assert steps(learned) == {ROOT: 9}


def test_the_entry_into_the_kernel_moves_the_stack_at_random() -> None:
    learned: dict[int, Learned] = {}
    for number in range(20):
        lesson(learned, (A, 9), (B, 12), (ENTRY, 20 + number % 9), cs=0x33)
    assert steps(learned) == {ROOT: 9, A: 12, B: END}
    # Were another frame to come next, what ends here would not tell whose it is.
    lesson(learned, (A, 9), (B, 12), (C, 40), cs=0x33)
    assert steps(learned) == {ROOT: 9, A: 12}


def test_a_stack_that_was_cut_off_behind_the_entry_contradicts_nothing() -> None:
    """It ends where one of so many frames may: in the fentry tier, one such fork had all stacks be walked."""
    learned: dict[int, Learned] = {}
    for number in range(20):
        lesson(learned, (A, 9), (B, 12), (ENTRY, 20 + number % 9), whole=number % 5 > 0)
    assert steps(learned) == {ROOT: 9, A: 12, B: END}
    lesson(learned, (A, 9), (B, 12), (C, 40), whole=False)
    assert steps(learned) == {ROOT: 9, A: 12}


def test_a_stack_at_a_kprobe_begins_where_it_was_hit() -> None:
    registers = [0] * 16 + [A]
    assert begins_where_hit((A, B), registers)
    assert not begins_where_hit((B, C), registers)  # without its first frame
    assert not begins_where_hit((A, B), registers[:16])


def test_what_contradicts_later_is_taken_back() -> None:
    learned = repeated(9, (A, 9), (B, 12), (C, 5))
    assert steps(learned)[A] == 12
    lesson(learned, (A, 9), (B, 13), (C, 5))
    assert A not in steps(learned)


def test_a_stack_that_was_cut_off_has_no_end() -> None:
    learned: dict[int, Learned] = {}
    for _ in range(9):
        lesson(learned, (A, 9), (B, 12), whole=False)
    assert steps(learned) == {ROOT: 9, A: 12}


def test_an_exception_in_the_kernel_goes_on_and_is_not_known() -> None:
    learned = repeated(9, (A, 9), (B, 12), cs=0x33)
    lesson(learned, (A, 9), (B, 12), (C, 30), cs=0x10)
    assert steps(learned)[B] == REGISTERS  # the program looks at the register each time
