"""The screen of mismatches, and the evidence of each."""

import dataclasses

from kmemtrace.model.mismatch import Mismatch
from kmemtrace.model.snapshot import Snapshot
from tests import sample
from tests.screen.conftest import OnScreen, Screen


def test_without_a_mismatch_the_screen_says_what_was_looked_for(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert "MISMATCHES" not in screen.text()
        await screen.press("m")
        shown = screen.text()
        assert "None was found." in shown
        assert "12,345  root" in shown
        assert "lost_uncharge:" in shown
        assert "its end is not seen" in shown
        assert "Enter" not in screen.lines()[-1]
        await screen.press("m")
        assert "CGROUP" in screen.text()

    on_screen(play)


def found(*mismatches: Mismatch) -> Snapshot:
    return dataclasses.replace(sample.busy(), mismatches=mismatches)


def test_a_mismatch_is_in_the_header_and_its_evidence_behind_enter(
    on_screen: OnScreen,
) -> None:
    suspect = sample.mismatch(
        mismatch_class="lost_uncharge", confidence="suspect", missed_events=17, count=1, free_stack=()
    )

    async def play(screen: Screen) -> None:
        assert screen.lines()[1].startswith("MISMATCHES 3 certain, 1 suspect  held 10M")
        await screen.press("m")
        table = [line.split() for line in screen.lines() if line.startswith(("CLASS", "wrong", "lost"))]
        assert [row[:4] for row in table] == [
            ["CLASS", "SURE", "TIMES", "LAST"],
            ["wrong_cgroup", "certain", "3", "3.0s"],
            ["lost_uncharge", "suspect", "1", "3.0s"],
        ]
        assert "Enter evidence" in screen.lines()[-1]
        await screen.press("enter")
        shown = screen.text()
        assert "wrong_cgroup: certain, 3 times" in shown
        assert "uncharged from /system.slice/nginx.service" in shown
        assert "the last: page 0xffffea0004002180, order 0 by nginx (811)" in shown
        assert "seen: freed, order 0, its mark naming another owner" in shown
        assert "anon_pipe_write+0x18e" in shown
        assert "free_pipe_info+0x5d" in shown
        await screen.press("escape", "down", "enter")
        assert "17 events were missed meanwhile, which could explain it" in screen.text()
        await screen.press("escape", "escape")
        assert "CGROUP" in screen.text()

    on_screen(play, make=lambda _: found(sample.mismatch(), suspect))
