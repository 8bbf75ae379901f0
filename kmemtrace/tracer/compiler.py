"""Runs the compiler in BCC's library: where it works, what it says, and why it could not.

It is for a process of its own: the compiler takes 100 MB, and gives little of it back.
"""

import ctypes
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kmemtrace.errors import CannotError
from kmemtrace.foreign import libbcc
from kmemtrace.kernel import making
from kmemtrace.kernel.making import Shape
from kmemtrace.kernel.refusals import why_refused
from kmemtrace.limits import named
from kmemtrace.tracer.compiled import Compiled, Element, Field, Map, function
from kmemtrace.tracer.find_bcc import import_bcc

_MAP = re.compile(r"could not open bpf map: (\w+)")
_ERROR = re.compile(r"\berror: (.*)")
_STDERR = 2
_FILLING = "__pad_"
"""What BCC calls the gaps that the compiler left."""


class CompilerError(CannotError):
    """Our programs were not compiled, or their maps not made; the message says why."""


def compile_text(text: str, flags: Sequence[str]) -> Compiled:
    """Compiles a source text.

    BCC makes the maps too, and with them descriptors that the code names; they stay open.

    Raises:
        CannotError: BCC is missing, the text cannot be compiled, or a map cannot be made.
    """
    bcc = import_bcc()
    with compiling():
        bpf: Any = bcc.BPF(text=text.encode(), cflags=list(flags))
    lib, module, maps, names = libbcc(bcc), bpf.module, dict[str, Map](), dict[int, str]()
    for number in range(lib.bpf_num_tables(module)):
        name = lib.bpf_table_name(module, number).decode()
        names[lib.bpf_table_fd_id(module, number)] = name
        shape = Shape(
            lib.bpf_table_type_id(module, number),
            lib.bpf_table_key_size_id(module, number),
            lib.bpf_table_leaf_size_id(module, number),
            lib.bpf_table_max_entries_id(module, number),
            lib.bpf_table_flags_id(module, number),
        )
        elements = None
        if shape.type != making.RING:
            table = bpf[name.encode()]
            elements = element_of(table.Key), element_of(table.Leaf)
        maps[name] = Map(shape, elements)
    functions = [lib.bpf_function_name(module, i) for i in range(lib.bpf_num_functions(module))]
    return Compiled({one.decode(): function(bpf.dump_func(one), names) for one in functions}, maps)


def element_of(struct: type[Any]) -> Element:
    """Returns the layout of a type of ctypes.

    Of one that is only an array of structs, or an array as of a per-CPU map, it is that of one of them.
    """
    fields: Any = getattr(struct, "_fields_", ())
    array: Any = fields[0][1] if len(fields) == 1 else struct
    element: type[Any] = getattr(array, "_type_", None) or struct
    one = element if hasattr(element, "_fields_") else struct
    return Element(struct.__name__, ctypes.sizeof(one), tuple(_fields(one)))


def _fields(struct: type[Any], name: str = "", begin: int = 0) -> Iterator[Field]:
    fields = getattr(struct, "_fields_", None)
    if fields is None:
        yield name, begin, ctypes.sizeof(struct)
        return
    for one, type_, *_ in fields:
        if not one.startswith(_FILLING):
            yield from _fields(type_, one, begin + getattr(struct, one).offset)


@contextmanager
def compiling() -> Iterator[None]:
    """Makes it safe to run clang inside.

    It prints from C++ to descriptor 2: that is turned aside, into memory, since there may be no disk to write
    to. And it wants a working directory that exists.

    Raises:
        CompilerError: It failed.
    """
    with ExitStack() as stack:
        messages = os.memfd_create("kmemtrace-compiler")
        stack.callback(os.close, messages)
        with _turned_aside(messages), _somewhere():
            try:
                yield
            except Exception as error:  # noqa: BLE001 BCC raises nothing narrower
                failure = error
            else:
                return
        said = os.pread(messages, os.fstat(messages).st_size, 0).decode(errors="replace")
        raise CompilerError(_why(said, failure)) from failure


@contextmanager
def _turned_aside(to: int) -> Iterator[None]:
    saved = os.dup(_STDERR)
    os.dup2(to, _STDERR)
    try:
        yield
    finally:
        os.dup2(saved, _STDERR)
        os.close(saved)


@contextmanager
def _somewhere() -> Iterator[None]:
    """Works in / meanwhile, if the working directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        here = os.open(".", os.O_PATH)
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(here)
            os.close(here)
    else:
        yield


def _why(said: str, failure: Exception) -> str:
    refused = named(said) or (failure if isinstance(failure, OSError) else None)
    made = _MAP.search(said)
    if refused is not None:
        return why_refused(f"the BPF map {made[1]}" if made else "what the compiler asked for", refused)
    error = _ERROR.search(said)
    words = error[1].strip() if error else f"{failure}"
    kept = _kept(said)
    return f"BCC's compiler could not compile kmemtrace's BPF programs: {words}. Please report it{kept}."


def _kept(said: str) -> str:
    """Says where to find the messages, if they could be written to a file."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="kmemtrace-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(said)
    except OSError:
        return ""
    return f" with the messages in {Path(file.name)}"
