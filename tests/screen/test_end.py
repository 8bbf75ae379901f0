"""How the live view ends: by a key, an error, or its time."""

import threading
import time

import pytest

from kmemtrace.errors import CannotError
from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.tui.app import TopApp
from tests import sample
from tests.screen.conftest import OnScreen, Screen


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_quitting(key: str, on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.app.is_running
        await screen.press("question_mark", key)
        assert not screen.app.is_running

    on_screen(play)


class Headless(TopApp):
    """On no terminal, as the tests have none."""

    def run(self, **_: object) -> None:
        super().run(headless=True, size=(80, 24))


@pytest.mark.parametrize("error", [CannotError("The kernel took it back."), OSError(5, "EIO")])
def test_an_error_of_the_source_ends_the_view_and_is_raised(error: Exception) -> None:
    snapshots = iter([sample.busy()])

    def source() -> Snapshot:
        for snapshot in snapshots:
            return snapshot
        raise error

    with pytest.raises(type(error)) as raised:
        Headless(source, 0.01, View()).run_to_end()
    assert raised.value is error
    assert "snapshots" not in [thread.name for thread in threading.enumerate()]


def test_it_ends_when_its_time_is_up() -> None:
    begin = time.monotonic()
    Headless(sample.busy, 0.05, View(), duration=0.5).run_to_end()
    assert 0.5 <= time.monotonic() - begin < 10
