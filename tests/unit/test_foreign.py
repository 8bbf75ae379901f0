"""No function of C is called without its types: by us, or by BCC's binding for us."""

import ast
import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmemtrace import foreign
from kmemtrace.tracer.find_bcc import import_bcc

PACKAGE = Path(foreign.__file__).parent
OPENERS = {
    "CDLL",
    "PyDLL",
    "LibraryLoader",
    "cdll",
    "pydll",
    "pythonapi",
    "CFUNCTYPE",
    "PYFUNCTYPE",
    "libbcc",
}
"""Ways to a function of C; `libbcc` is how BCC's binding calls its own."""


def names(folder: Path, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, ast.Name | ast.Attribute]]:
    """(file, node) of each name and attribute in the sources below a folder."""
    for path in folder.rglob("*.py"):
        if path.name in but:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name | ast.Attribute):
                yield str(path.relative_to(folder)), node


def test_libraries_are_opened_in_one_place() -> None:
    found = set()
    for file, node in names(PACKAGE, but=frozenset({"foreign.py"})):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        direct = isinstance(node, ast.Name) and name == "libbcc"  # the function of foreign.py
        if name in OPENERS and not direct:
            found.add((file, name))
    assert found == set()


@pytest.mark.parametrize("library", [foreign.libc, foreign.libbpf])
def test_what_is_not_declared_cannot_be_called(library: object) -> None:
    assert callable(library)
    with pytest.raises(AttributeError, match="getpid is not declared"):
        library().getpid()


@pytest.mark.parametrize(
    ("library", "prototypes"),
    [
        (foreign.libc(), foreign.LIBC),
        (foreign.libbpf(), foreign.LIBBPF),
        (foreign.libbcc(import_bcc()), foreign.LIBBCC),
    ],
    ids=["libc", "libbpf", "libbcc"],
)
def test_an_argument_of_the_wrong_kind_is_refused(
    library: foreign.Library, prototypes: foreign.Prototypes
) -> None:
    """Rather than passed as an int."""
    for name, (_, *arguments) in prototypes.items():
        if arguments:
            with pytest.raises(ctypes.ArgumentError):
                getattr(library, name)(*[object()] * len(arguments))


@pytest.mark.filterwarnings("ignore:.*invalid escape:Warning")
def test_bcc_calls_nothing_without_types() -> None:
    bcc = import_bcc()
    lib, folder = bcc.libbcc.lib, Path(bcc.libbcc.__file__).parent
    called = {
        node.attr
        for _, node in names(folder)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lib"
    }
    assert {"bpf_module_create_c_from_string", "bpf_prog_detach2"} <= called
    found = {name: getattr(lib, name, None) for name in called}
    assert [name for name, f in found.items() if f is not None and f.argtypes is None] == []
