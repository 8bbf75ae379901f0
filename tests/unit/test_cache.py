"""What was compiled is taken from a file only where nobody but root can have written it, and it is whole."""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kmemtrace.kernel.making import HASH, RING, Shape
from kmemtrace.tracer import builds, cache, compiler_process
from kmemtrace.tracer.compiled import (
    Compiled,
    Element,
    Function,
    Map,
    NotCompiledError,
    function,
    read,
    write,
)

KEY, OTHER = "a1" * 32, "b2" * 32
LOAD_MAP = bytes.fromhex("1811000007000000 0000000000000000")
"""r1 = the map with descriptor 7"""
LOAD_NUMBER = bytes.fromhex("1801000018110000 0000000018110000")
"""r1 = a number that looks like such an instruction, twice"""
EXIT = bytes.fromhex("b700000000000000 9500000000000000")


def element(*names: str) -> Element:
    return Element("thing", 8 * len(names), tuple((name, 8 * i, 8) for i, name in enumerate(names)))


PROGRAMS = Compiled(
    {
        "first": function(LOAD_MAP + LOAD_NUMBER + EXIT, {7: "pages"}),
        "second": function(EXIT, {}),
    },
    {
        "pages": Map(Shape(HASH, 8, 16, 1009, 1), (element(""), element("a", "b"))),
        "findings": Map(Shape(RING, 0, 0, 4096), None),
    },
)
DATA = write(PROGRAMS, KEY)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's; whoever runs the tests stands for root."""
    found = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(found))
    if os.geteuid() != 0:
        monkeypatch.setattr(cache, "folder", lambda: found)
    return found


def test_what_is_kept_is_found_again(folder: Path) -> None:
    assert cache.fetch(KEY) is None
    cache.keep(KEY, DATA)
    assert cache.fetch(KEY) == DATA
    assert read(DATA, KEY) == PROGRAMS
    assert cache.fetch(OTHER) is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()] == [0o600]


def test_descriptors_are_put_where_maps_are_meant_and_nowhere_else() -> None:
    first = PROGRAMS.functions["first"]
    assert first.maps == ((0, "pages"),)
    assert first.code[4:8] == bytes(4)
    assert first.with_maps({"pages": 7}) == LOAD_MAP + LOAD_NUMBER + EXIT
    assert first.with_maps({"pages": 300})[4:8] == (300).to_bytes(4, "little")
    assert PROGRAMS.functions["second"].with_maps({}) == EXIT


def test_a_file_under_another_key_is_refused() -> None:
    with pytest.raises(NotCompiledError):
        read(DATA, OTHER)


def test_a_file_that_was_cut_is_refused() -> None:
    for size in range(len(DATA)):
        with pytest.raises(NotCompiledError):
            read(DATA[:size], KEY)
    with pytest.raises(NotCompiledError):
        read(DATA + b"\0", KEY)


def test_a_file_with_a_wrong_byte_is_refused() -> None:
    """Whichever it is; every 97th of a larger file, and here each."""
    for at in range(len(DATA)):
        for flip in (0x01, 0xFF):
            damaged = bytearray(DATA)
            damaged[at] ^= flip
            with pytest.raises(NotCompiledError):
                read(bytes(damaged), KEY)


@pytest.mark.parametrize(
    "programs",
    [
        Compiled({"first": Function(EXIT[:-1], ())}, {}),
        Compiled({"first": Function(b"", ())}, {}),
        Compiled({"first": Function(LOAD_MAP + EXIT, ())}, {}),
        Compiled({"first": Function(LOAD_MAP + EXIT, ((0, "none"),))}, {}),
        Compiled({"first": Function(EXIT, ((0, "pages"),))}, PROGRAMS.maps),
        Compiled({"../first": Function(EXIT, ())}, {}),
        Compiled({}, {"pages": Map(Shape(99, 8, 8, 1), None)}),
        Compiled({}, {"pages": Map(Shape(HASH, -8, 8, 1), None)}),
        Compiled({}, {"pages": Map(Shape(HASH, 8, 8, 1 << 40), None)}),
        Compiled({}, {"pages": Map(Shape(HASH, 8, True, 1), None)}),
    ],
    ids=[
        "torn",
        "empty",
        "unnamed map",
        "unknown map",
        "no map there",
        "name",
        "type",
        "size",
        "entries",
        "bool",
    ],
)
def test_numbers_that_cannot_be_are_refused(programs: Compiled) -> None:
    """Though their sum is right."""
    with pytest.raises(NotCompiledError):
        read(write(programs, KEY), KEY)


def kept(folder: Path) -> Path:
    cache.keep(KEY, DATA)
    return folder / KEY


def _mode_of_file(folder: Path) -> None:
    kept(folder).chmod(0o644)


def _mode_of_folder(folder: Path) -> None:
    kept(folder)
    folder.chmod(0o750)


def _link(folder: Path) -> None:
    file = kept(folder)
    file.symlink_to(file.rename(folder / OTHER))


def _second_name(folder: Path) -> None:
    os.link(kept(folder), folder / OTHER)


def _pipe(folder: Path) -> None:
    kept(folder).unlink()
    os.mkfifo(folder / KEY, 0o600)


def _linked_folder(folder: Path) -> None:
    kept(folder)
    folder.symlink_to(folder.rename(folder.with_name("elsewhere")))


def _foreign_file(folder: Path) -> None:
    os.chown(kept(folder), 65534, 65534)


def _foreign_folder(folder: Path) -> None:
    kept(folder)
    os.chown(folder, 65534, 65534)


WRONG = [_mode_of_file, _mode_of_folder, _link, _second_name, _pipe, _linked_folder]
FOREIGN = [_foreign_file, _foreign_folder]


@pytest.mark.parametrize("spoil", [*WRONG, *FOREIGN])
def test_what_others_may_have_written_is_left_aside(spoil: Callable[[Path], None], folder: Path) -> None:
    if spoil in FOREIGN and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    spoil(folder)
    assert cache.fetch(KEY) is None


@pytest.mark.parametrize("spoil", [_mode_of_folder, _linked_folder])
def test_nothing_is_written_where_others_may(spoil: Callable[[Path], None], folder: Path) -> None:
    spoil(folder)
    cache.keep(OTHER, DATA)
    assert not (folder / OTHER).exists()


@pytest.mark.parametrize("spoil", [_mode_of_file, _link, _second_name, _pipe])
def test_a_file_that_was_left_aside_is_made_anew(spoil: Callable[[Path], None], folder: Path) -> None:
    spoil(folder)
    cache.keep(KEY, DATA)
    assert cache.fetch(KEY) == DATA


def test_a_full_disk_leaves_nothing_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.keep(OTHER, DATA)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "rename", full)
    cache.keep(KEY, DATA)
    assert [one.name for one in folder.iterdir()] == [OTHER]


def test_a_folder_that_cannot_be_made_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file")
    cache.keep(KEY, DATA)
    assert cache.fetch(KEY) is None


def test_the_oldest_go(folder: Path) -> None:
    keys = [f"{number:064x}" for number in range(cache.MOST_FILES + 3)]
    for age, key in enumerate(reversed(keys)):
        cache.keep(key, DATA)
        os.utime(folder / key, (time.time() - 1000 + age,) * 2)
    left = folder / f"{KEY}.123"
    left.write_bytes(b"")
    os.utime(left, (1, 1))
    cache.keep(KEY, DATA)
    assert {one.name for one in folder.iterdir()} == {KEY, *keys[: cache.MOST_FILES - 1]}


@pytest.mark.parametrize(("said", "used"), [("off", None), ("here", None), ("/x/y", Path("/x/y"))])
def test_it_can_be_turned_off(said: str, used: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("users other than root have none")
    monkeypatch.setenv(cache.VARIABLE, said)
    assert cache.folder() == used


def test_who_is_not_root_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache.folder() is None


def test_a_damaged_file_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[str]()

    def compile_apart(text: str, flags: object) -> Compiled:
        compiled.append(text)
        return PROGRAMS

    monkeypatch.setattr(compiler_process, "compile_apart", compile_apart)
    monkeypatch.setattr(builds, "find_binding", lambda: folder)
    for _ in range(2):
        assert builds.build("text", ["-DA=1"]) == PROGRAMS
    assert len(compiled) == 1
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert builds.build("text", ["-DA=1"]) == PROGRAMS
    assert len(compiled) == 2
    assert builds.build("text", ["-DA=1"]) == PROGRAMS
    assert len(compiled) == 2


def test_other_constants_are_other_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "find_binding", lambda: folder)
    given = [
        ("text", ["-DA=1"]),
        ("texts", ["-DA=1"]),
        ("text", ["-DA=2"]),
        ("text", []),
        ("text", ["-DA=1", ""]),
    ]
    keys = {builds._key(text, flags) for text, flags in given}
    monkeypatch.setattr(builds, "__version__", "0.0.0")
    keys.add(builds._key(*given[0]))
    assert len(keys) == len(given) + 1
