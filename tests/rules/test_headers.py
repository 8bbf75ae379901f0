"""Each header of the BPF programs names what it is built on."""

import pytest

from kmemtrace.tracer.sources import probes_folder
from tests.rules.machine import check_alone, has_compiler

pytestmark = pytest.mark.skipif(not has_compiler(), reason="g++ is not installed")


@pytest.mark.parametrize("header", sorted(path.name for path in probes_folder().glob("*.h")))
def test_a_header_compiles_alone(header: str) -> None:
    """Else it leans on what its includer happened to include first, and the order of includes decides."""
    check_alone(header)
