"""What was missed, in the header: always there, and standing out where it matters."""

import dataclasses

import pytest

from kmemtrace.model.snapshot import Snapshot
from tests import sample
from tests.screen.conftest import OnScreen, Screen

NO_LOSSES = {"recursion_misses": {}, "healed": 0, "swept": 0}


def with_losses(**changes: object) -> Snapshot:
    now = sample.busy()
    return dataclasses.replace(now, losses=dataclasses.replace(now.losses, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "missed 817  map full 0  healed 419  swept 35  |  pages 2%"),
        (80, "missed 817  map full 0  healed 419  swept 35  |  fullest map pages 2%"),
        (
            140,
            "missed 817  map full 0  healed 419  swept 35  |  maps: pages 2%  cgroups 0%  sites 0%",
        ),
    ],
)
def test_losses_come_first_and_the_fullest_map_next(width: int, line: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2] == line

    on_screen(play, (width, 24))


@pytest.mark.parametrize(
    ("losses", "words", "stands_out"),
    [
        (NO_LOSSES, "missed 0  map full 0", False),
        ({**NO_LOSSES, "recursion_misses": {"page_free": 1}}, "missed 1  map full 0", True),
        ({**NO_LOSSES, "map_full": {"pages": 3}}, "missed 0  map full 3 (pages)", True),
        ({**NO_LOSSES, "healed": 9}, "missed 0  map full 0  healed 9", False),
    ],
)
def test_losses_stand_out(
    losses: dict[str, object], words: str, stands_out: bool, on_screen: OnScreen
) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2].startswith(words)
        assert ("bold" in screen.styles_of(words)) is stands_out

    on_screen(play, make=lambda _: with_losses(**losses))


def test_losses_that_the_kernel_does_not_count(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.lines()[2].startswith("missed ?  map full 0")

    on_screen(play, make=lambda _: with_losses(recursion_misses=None))
