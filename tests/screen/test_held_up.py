"""The live view while its terminal takes no output."""

import asyncio
import time

from kmemtrace.model.snapshot import Snapshot
from kmemtrace.model.view import View
from kmemtrace.tui.app import TopApp
from tests.sample import busy


def test_frames_that_are_past_are_not_read() -> None:
    """A view that is held up would have them all to draw, one after the other, when it can go on."""
    readings = 0

    def source() -> Snapshot:
        nonlocal readings
        readings += 1
        return busy(readings)

    async def hold_up() -> int:
        app = TopApp(source, 0.01, View())
        async with app.run_test() as pilot:
            while app.shown is None:
                await pilot.pause(0.01)
            before = readings
            time.sleep(0.5)
            return readings - before

    assert asyncio.run(hold_up()) <= 2
