"""The kernel's table of symbols: from files as /proc has them, and this kernel's own."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kmemtrace.kernel.symbols import Symbols, kernel_symbols

TABLE = """\
ffffffff81000000 T _stext
ffffffff81000000 T first
ffffffff81000040 t second.isra.0
ffffffff81000080 W third
ffffffff81001000 T _etext
ffffffff82000000 D __per_cpu_offset
ffffffffc0100000 t later_module\t[b]
ffffffffc0000000 t init_module\t[a]
ffffffffc0000100 r a_constant\t[a]
"""
MODULES = "a 16384 0 - Live 0xffffffffc0000000\n"
HIDDEN = "".join(f"{0:016x}{line[16:]}\n" for line in TABLE.splitlines())


class Files:
    def __init__(self, folder: Path) -> None:
        self.table, self.modules, self.restrict = (folder / name for name in ("kallsyms", "modules", "kptr"))
        self.table.write_text(TABLE)
        self.modules.write_text(MODULES)
        self.restrict.write_text("1\n")

    @contextmanager
    def symbols(self) -> Iterator[Symbols]:
        with closing(Symbols(self.table, self.modules, self.restrict)) as symbols:
            yield symbols


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFFFFFFFF80FFFFFF, None),
        (0xFFFFFFFF81000000, "_stext+0x0"),
        (0xFFFFFFFF8100003F, "_stext+0x3f"),
        (0xFFFFFFFF81000040, "second.isra.0+0x0"),
        (0xFFFFFFFF81000FFF, "third+0xf7f"),
        (0xFFFFFFFFC0000142, "init_module+0x142"),
        (0xFFFFFFFFC0100001, "later_module+0x1"),
        (0xFFFFFFFFC0010000, None),  # nothing of module a can be as large
        ((1 << 64) - 1, None),
    ],
)
def test_functions(files: Files, address: int, name: str | None) -> None:
    with files.symbols() as symbols:
        assert symbols.function(address) == name
        assert symbols.text == range(0xFFFFFFFF81000000, 0xFFFFFFFF81001000)
        assert symbols.hidden is None


def test_variables(files: Files) -> None:
    with files.symbols() as symbols:
        assert symbols.variable("__per_cpu_offset") == 0xFFFFFFFF82000000
        assert symbols.variable("pcpu_hot") is None


def test_a_module_that_comes_is_learnt_and_its_use_costs_nothing(files: Files) -> None:
    with files.symbols() as symbols:
        assert symbols.hidden is None  # it is read beside us: by now it has been
        files.table.write_text(TABLE + "ffffffffc0200000 t newcomer\t[c]\n")
        files.modules.write_text(MODULES.replace(" 0 -", " 7 b,"))  # used by others now
        assert symbols.function(0xFFFFFFFFC0200001) is None
        files.modules.write_text(MODULES + "c 4096 0 - Live 0xffffffffc0200000\n")
        assert symbols.function(0xFFFFFFFF81000040) == "second.isra.0+0x0"
        assert symbols.function(0xFFFFFFFFC0200001) == "newcomer+0x1"


@pytest.mark.parametrize(
    ("restrict", "says"), [("2", "kernel.kptr_restrict=2"), ("1", "CAP_SYSLOG"), ("0", "CAP_SYSLOG")]
)
def test_addresses_that_are_hidden(files: Files, restrict: str, says: str) -> None:
    files.table.write_text(HIDDEN)
    files.restrict.write_text(f"{restrict}\n")
    with files.symbols() as symbols:
        assert says in str(symbols.hidden)
        assert symbols.function(0xFFFFFFFF81000040) is None
        assert symbols.variable("__per_cpu_offset") is None
        assert 0xFFFFFFFF81000040 in symbols.text, "a stack is not cut short where nothing is known"


@pytest.mark.parametrize("content", [None, ""])
def test_no_table(files: Files, content: str | None) -> None:
    files.table.unlink()
    if content is not None:
        files.table.write_text(content)
    with files.symbols() as symbols:
        assert symbols.hidden
        assert symbols.function(0xFFFFFFFF81000040) is None


def test_this_kernels_own() -> None:
    symbols = kernel_symbols()
    if symbols.hidden:
        pytest.skip(symbols.hidden)
    table = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    (address,) = (int(a, 16) for a, _, name, *module in table if name == "vfs_write" and not module)
    assert symbols.function(address + 5) == "vfs_write+0x5"
    assert address in symbols.text
