"""The cursor, while rows change places, go, and are more than fit."""

from kmemtrace.model.snapshot import Snapshot
from tests import sample
from tests.screen.conftest import OnScreen, Screen, growing


def test_cursor_stays_on_its_row_while_rows_change_places(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.names() == ["/web", "/cron", "/job"]
        await screen.press("down")
        assert "reverse" in screen.styles_of("/cron")
        await screen.step(1)
        assert screen.names() == ["/job", "/web", "/cron"]
        assert "reverse" in screen.styles_of("/cron")
        assert "reverse" not in screen.styles_of("/web")

    on_screen(play, make=growing)


def test_cursor_that_was_not_moved_marks_the_first_row(on_screen: OnScreen) -> None:
    """Or the view would scroll after a row that nobody chose."""

    async def play(screen: Screen) -> None:
        assert "reverse" in screen.styles_of("/web")
        await screen.step(1)
        assert "reverse" in screen.styles_of("/job")

    on_screen(play, make=growing)


def test_cursor_whose_row_is_gone_stays_at_its_place(on_screen: OnScreen) -> None:
    def shrinking(step: int) -> Snapshot:
        left = [c for c in growing(0).cgroups if step == 0 or c.path != "/cron"]
        return sample.snapshot(*left)

    async def play(screen: Screen) -> None:
        await screen.press("down")
        await screen.step(1)
        assert screen.names() == ["/web", "/job"]
        assert "reverse" in screen.styles_of("/job")

    on_screen(play, make=shrinking)


def crowd(step: int) -> Snapshot:
    """2,000 cgroups; the last of them holds the most from step 1 on."""
    pages = [9000 - i for i in range(1999)] + [9 if step == 0 else 9999]
    found = [sample.cgroup(f"/pod/{i:04}", (sample.site(n),), id=i + 1) for i, n in enumerate(pages)]
    return sample.snapshot(*found)


def test_two_thousand_cgroups_are_within_reach(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        assert screen.names() == [f"/pod/{i:04}" for i in range(19)]
        await screen.press("pagedown")
        assert screen.selected() == "0:20"
        await screen.press("end")
        assert screen.names()[-1] == "/pod/1999"
        assert screen.selected() == "0:2000"
        await screen.step(1)
        assert screen.names()[0] == "/pod/1999", "a cursor that could be seen still can"
        assert "reverse" in screen.styles_of("/pod/1999")
        await screen.press("home", "up")
        assert screen.names()[0] == "/pod/1999"
        await screen.press("slash", *"1234", "enter")
        assert screen.names() == ["/pod/1234"]

    on_screen(play, make=crowd)
