"""What CONTRIBUTING.md calls a screen, and a file that does what its name says, in lines."""

import ast
from pathlib import Path

MOST_OF_A_FUNCTION, MOST_OF_A_MODULE = 48, 300
MODULES = sorted((Path(__file__).parents[2] / "kmemtrace").rglob("*.py"))


def test_no_module_is_longer_than_300_lines() -> None:
    lengths = {str(module): len(module.read_text().splitlines()) for module in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_OF_A_MODULE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{module}: {one.name}": (one.end_lineno or 0) - one.lineno + 1
        for module in MODULES
        for one in ast.walk(ast.parse(module.read_text()))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_OF_A_FUNCTION} == {}
    assert len(lengths) > 1000, "these are all of them"
