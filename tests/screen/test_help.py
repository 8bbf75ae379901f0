"""The help screen."""

from tests.screen.conftest import NARROW, OnScreen, Screen


def test_help_and_back(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        main = screen.lines()
        await screen.press("question_mark")
        for words in (
            "freeze the table",
            "HELD",
            "quit; nothing stays",
            "healed",
            "map full",
            "objects of the slab",
        ):
            assert words in screen.text()
        await screen.press("escape")
        assert screen.lines() == main

    on_screen(play, (100, 80))


def shown(screen: Screen) -> list[str]:
    """The page, without hints and scrollbar."""
    return [line[:76].rstrip() for line in screen.lines()[:-1]]


def test_help_scrolls_by_arrows_and_as_in_vi(on_screen: OnScreen) -> None:
    async def play(screen: Screen) -> None:
        await screen.press("question_mark")
        begin = shown(screen)
        await screen.press("j", "j")
        assert shown(screen)[:-2] == begin[2:]
        await screen.press("k", "up")
        assert shown(screen) == begin

    on_screen(play, NARROW)
