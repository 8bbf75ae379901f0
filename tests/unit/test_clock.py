"""The kernel's clock, as a process in a time namespace has to work it out."""

from pathlib import Path

import pytest

from kmemtrace.kernel.clock import monotonic_shift


@pytest.mark.parametrize(
    ("text", "shift"),
    [
        ("monotonic           0         0\nboottime            0         0\n", 0.0),
        ("monotonic      100000 500000000\nboottime           -1         0\n", 100_000.5),
        ("monotonic         -10 500000000\nboottime            0         0\n", -9.5),
        ("", 0.0),
    ],
)
def test_the_shift_of_a_namespace(text: str, shift: float, tmp_path: Path) -> None:
    (tmp_path / "offsets").write_text(text)
    assert monotonic_shift(tmp_path / "offsets") == shift


def test_a_kernel_without_time_namespaces(tmp_path: Path) -> None:
    assert monotonic_shift(tmp_path / "none") == 0.0
