"""Started where less is allowed than a tracer takes: a sentence that says what, and status 4. `check` says it
too."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kmemtrace.cgroups.mounts import memory_hierarchy
from kmemtrace.commands.able import census_bytes, tracer_bytes
from kmemtrace.kernel import loading
from kmemtrace.kernel.facts import highest_page_frame
from kmemtrace.kernel.refusals import RefusedError, refusing
from kmemtrace.kernel.trial import try_bpf
from kmemtrace.tracer.capacity import Capacity
from kmemtrace.tracer.compiler import CompilerError
from kmemtrace.tracer.programs import Programs
from kmemtrace.tracer.tracer import Tracer
from tests.live.folders import in_unusable
from tests.unit.test_console import COMMAND, shell

# Each starts a Python of its own, twenty times for each tier: half an hour in an emulated guest.
pytestmark = pytest.mark.own_tracer

MakeCgroup = Callable[[str], Path]

TOP, CHECK = "top --once --duration 0.1", "check"
TRACED = "top --once --duration 0.2 --json"
UNINITIALISED = bytes.fromhex("9500000000000000")
"""exit, with no r0"""


@pytest.fixture(autouse=True)
def _needs_bpf(tracer: Tracer) -> None:
    """Skips where the kernel refuses BPF, with the reason."""


def refused(done: subprocess.CompletedProcess[str], command: str, *words: str) -> None:
    assert done.returncode == 4, done
    told = done.stdout if command == CHECK else done.stderr
    told = " ".join(told.split())
    for word in words:
        assert word in told, done
    if command == CHECK:
        assert "tier none" in told
        assert done.stderr == ""
    else:
        assert len(done.stderr.splitlines()) == 1, done
        assert done.stdout == ""


@pytest.mark.parametrize("command", [TOP, "audit", CHECK])
@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("-n 32", "may have 32 open files (ulimit -n)"),
        ("-v 400000", "may have 390M of addresses (ulimit -v)"),
        ("-d 160000", "may have 156M of data (ulimit -d)"),
    ],
)
def test_limits_of_the_process(command: str, limit: str, says: str) -> None:
    refused(shell(f"ulimit {limit}; {COMMAND} {command}"), command, says, "raise the limit")


@pytest.mark.parametrize("limit", ["-v 60000", "-d 30000"])
def test_a_limit_at_which_python_can_hardly_begin(limit: str) -> None:
    """numpy would end the process with status 1."""
    done = shell(f"ulimit {limit}; {COMMAND} top --once")
    refused(done, "top", limit[:2], "raise the limit")


@pytest.mark.parametrize(
    ("megabytes", "command"), [(60, TOP), (60, CHECK), (100, "verify -- true"), (100, "dead"), (100, CHECK)]
)
def test_a_cgroup_with_little_memory(megabytes: int, command: str, make_cgroup: MakeCgroup) -> None:
    """The compiler would be killed."""
    folder = limited(make_cgroup("small"), megabytes)
    done = shell(f"echo 0 >{folder}/cgroup.procs && exec {COMMAND} {command}")
    refused(done, command, f"the cgroup /{folder.name} (memory.", "M left", "Raise the limit")


def test_a_tracer_comes_before_the_census(make_cgroup: MakeCgroup) -> None:
    """Where there is no room for both, it traces, and says why it has no accounts."""
    folder = limited(make_cgroup("tight"), (tracer_bytes() >> 20) + 60)
    done = shell(f"echo 0 >{folder}/cgroup.procs && exec {COMMAND} {TRACED}")
    assert (done.returncode, done.stderr) == (0, "")
    unseen = json.loads(done.stdout)["unseen"]
    assert "to trace and take censuses" in unseen["account"]
    assert {"slab", "percpu"} <= unseen.keys()


def test_an_audit_takes_what_it_asks_for(make_cgroup: MakeCgroup) -> None:
    """The kernel would end it where it took more."""
    folder = limited(make_cgroup("audit"), (census_bytes() >> 20) + 50)
    done = shell(f"echo 0 >{folder}/cgroup.procs && exec {COMMAND} audit --json --pause 100ms")
    assert done.returncode in (0, 3), done
    assert json.loads(done.stdout)["cgroups"]


def limited(folder: Path, megabytes: int) -> Path:
    name = "memory.limit_in_bytes" if memory_hierarchy().version == 1 else "memory.max"
    (folder / name).write_text(f"{megabytes << 20}")
    return folder


def test_no_more_threads() -> None:
    pids = Path("/sys/fs/cgroup/pids")
    if not pids.is_dir():
        pytest.skip("there is no cgroup v1 with the pids controller to limit threads with")
    folder = pids / "kmemtrace-test-threads"
    folder.mkdir()
    try:
        (folder / "pids.max").write_text("1")
        done = shell(f"echo 0 >{folder}/cgroup.procs && exec {COMMAND} top --once")
    finally:
        folder.rmdir()
    refused(done, "top", "No more threads", "pids.max")


@pytest.mark.parametrize("command", [TRACED, "verify -- true", "audit --json"])
def test_a_working_directory_that_was_removed(command: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    root = Path(__file__).parents[2]
    done = shell(f"cd {gone} && rmdir {gone} && PYTHONPATH={root} {COMMAND} {command}")
    assert done.returncode in (0, 3), done
    assert done.stdout


def test_nowhere_to_put_a_temporary_file(tmp_path: Path) -> None:
    for done in in_unusable(tmp_path, f"TMPDIR={tmp_path} {COMMAND} {TRACED}"):
        assert (done.returncode, done.stderr) == (0, ""), done


def test_the_maps_take_about_what_is_asked_for_before(tracer: Tracer) -> None:
    taken = tracer.snapshot().own_bytes
    assert taken is not None
    expected = Capacity.of_machine(highest_page_frame()).map_bytes
    assert taken <= expected * 1.05
    assert taken >= expected * 0.7


def test_what_is_tried_works_where_a_tracer_does() -> None:
    try_bpf()


def test_what_the_verifier_refuses_is_told_with_its_words() -> None:
    said = "verifier does not accept the BPF program wrong: R0 !read_ok"
    with pytest.raises(RefusedError, match=said), refusing("the BPF program wrong"):
        loading.load(UNINITIALISED, loading.RAW_TRACEPOINT, "wrong")


def test_what_the_compiler_refuses_is_told_with_its_words() -> None:
    with pytest.raises(CompilerError, match=r"could not compile .*: unknown type name 'this'") as told:
        Programs("this is no C", {}, {"KMEMTRACE_KERNEL_VERSION": "KERNEL_VERSION(6,1,0)"})
    log = Path(str(told.value).rpartition(" ")[2].rstrip("."))
    assert "unknown type name" in log.read_text()
    log.unlink()


def test_a_map_that_there_is_no_memory_for_is_told_as_that() -> None:
    text = "struct large { char bytes[1 << 20]; };\nBPF_ARRAY(huge, struct large, 1 << 24);"  # 16 TB
    with pytest.raises(CompilerError, match=r"refuses the BPF map huge \(Cannot allocate memory\)"):
        Programs(text, {}, {"KMEMTRACE_KERNEL_VERSION": "KERNEL_VERSION(6,1,0)"})
