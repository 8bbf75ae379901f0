"""Who refused, from the error and the verifier's words."""

import errno
from pathlib import Path

import pytest

from kmemtrace.kernel import refusals
from kmemtrace.kernel.loading import LoadError
from kmemtrace.kernel.refusals import lockdown, why_refused

# As kernels up to 6.9 and from then on say it, with what they count after it.
NO_HELPER = [
    "0: (85) call bpf_get_current_task#35\nunknown func bpf_probe_read_kernel#113\nprocessed 8 insns\n",
    "program of this type cannot use helper bpf_probe_read_kernel#113\nprocessed 8 insns\n",
]


@pytest.mark.parametrize("said", NO_HELPER)
@pytest.mark.parametrize("mode", ["confidentiality", None])
def test_lockdown_takes_a_helper_away(said: str, mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its mode cannot be read: nothing else does."""
    monkeypatch.setattr(refusals, "lockdown", lambda: mode)
    told = why_refused("a BPF program", LoadError(errno.EINVAL, said))
    assert "lockdown is in confidentiality mode" in told
    assert "lockdown=integrity" in told


def test_another_refusal_is_told_in_the_verifiers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "lockdown", lambda: "integrity")
    said = "9: (61) r1 = *(u32 *)(r0 +8)\nR0 invalid mem access 'scalar'\nprocessed 9 insns\n"
    told = why_refused("the BPF program page_free", LoadError(errno.EACCES, said))
    assert (
        told
        == "The kernel's verifier does not accept the BPF program page_free: R0 invalid mem access 'scalar'."
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSYS, "no bpf(2)"),
        (errno.ENOMEM, "a BPF array (Cannot allocate memory). There was no memory left"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EPERM, "Run it as root on the host"),
    ],
)
def test_an_error_says_what_it_is(number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "lockdown", lambda: "none")
    monkeypatch.setattr(refusals, "_under_seccomp", lambda: False)
    assert words in why_refused("a BPF array", OSError(number, ""))


def test_the_mode_is_the_one_in_brackets(tmp_path: Path) -> None:
    (tmp_path / "lockdown").write_text("none [integrity] confidentiality\n")
    assert lockdown(tmp_path / "lockdown") == "integrity"
    assert lockdown(tmp_path / "none") is None
