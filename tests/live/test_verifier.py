"""How far the programs are below the verifier's limit: newer compilers come closer to it.

One that LLVM 14 made of a version before was loaded in four tenths of it, and LLVM 19's was not.
"""

import pytest

from kmemtrace.tracer.tracer import Tracer

LIMIT = 1_000_000
"""BPF_COMPLEXITY_LIMIT_INSNS of the kernel."""


def test_no_program_takes_more_than_a_third_of_what_the_verifier_follows(tracer: Tracer) -> None:
    verified = {name: info.verified for name, info in tracer.infos().items()}
    if None in verified.values():
        pytest.skip("kernels before 5.16 do not tell")
    assert {name: count for name, count in verified.items() if count and count > LIMIT // 3} == {}
    assert any(verified.values())
