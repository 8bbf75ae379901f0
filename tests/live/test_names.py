"""Names of functions, for a user who is not root and has no more than what README asks for; and where the
kernel hides them."""

import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmemtrace.kernel.facts import version
from kmemtrace.kernel.symbols import kernel_symbols
from tests.live import workloads
from tests.live.test_command import COMMAND, kmemtrace
from tests.live.workloads import held_in

MakeCgroup = Callable[[str], Path]

pytestmark = [pytest.mark.own_tracer, pytest.mark.usefixtures("tracer")]

KPTR_RESTRICT = Path("/proc/sys/kernel/kptr_restrict")
README = Path(__file__).parents[2] / "README.md"


def as_somebody(*, without: str = "") -> list[str]:
    """Nobody, with the capabilities that README asks for, but one."""
    needed = README.read_text(encoding="utf-8").partition("Needed: ")[2].partition("\n\n")[0]
    names = set(re.findall(r"CAP_(\w+)", needed)) - {"SYS_ADMIN", without.removeprefix("CAP_")}
    assert "BPF" in names
    capabilities = "-all," + ",".join(f"+{name.lower()}" for name in sorted(names))
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if version(platform.release()) < (5, 11):  # which counts BPF's maps against this limit
        command = ["prlimit", "--memlock=unlimited", *command]
    return [*command, f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]


@pytest.fixture
def restricted() -> Iterator[None]:
    """Addresses hidden from everybody, root included."""
    before = KPTR_RESTRICT.read_text()
    KPTR_RESTRICT.write_text("2")
    yield
    KPTR_RESTRICT.write_text(before)


def a_pipe_written(folder: Path, prefix: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `top` of that user says of the pages of a pipe: the site that holds most, and the frame."""
    command = [*prefix, *COMMAND, "top", "--json", "--interval=0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline(), "no frame came"
        with held_in(folder, lambda: workloads.fill_pipes(1009)):
            running.stdout.readline()  # may be from before
            frame = json.loads(running.stdout.readline())
        running.terminate()
    (cgroup,) = (c for c in frame["cgroups"] if c["path"].endswith(folder.name))
    return max(cgroup["sites"], key=lambda site: int(site["held_pages"])), frame


def test_another_user_gets_names(make_cgroup: MakeCgroup) -> None:
    if kernel_symbols().hidden:
        pytest.skip(str(kernel_symbols().hidden))
    site, frame = a_pipe_written(make_cgroup("named"), as_somebody())
    assert site["kind"] == "pipe"
    assert any("pipe_write+0x" in name for name in site["stack"])
    assert "symbols" not in frame["unseen"]


def test_names_that_a_user_may_not_see_are_missed_aloud(make_cgroup: MakeCgroup) -> None:
    if KPTR_RESTRICT.read_text().strip() == "2":
        pytest.skip("kernel.kptr_restrict=2 hides them from everybody")
    somebody = as_somebody(without="CAP_SYSLOG")
    site, frame = a_pipe_written(make_cgroup("unnamed"), somebody)
    assert (site["kind"], site["symbol"]) == ("unknown", "(unknown)")
    assert "CAP_SYSLOG" in frame["unseen"]["symbols"]
    checked = json.loads(kmemtrace("check", "--json", prefix=somebody).stdout)
    assert checked["symbols"] == frame["unseen"]["symbols"]


@pytest.mark.usefixtures("restricted")
def test_names_that_nobody_may_see_are_missed_aloud(make_cgroup: MakeCgroup) -> None:
    site, frame = a_pipe_written(make_cgroup("restricted"), [])
    assert (site["kind"], site["symbol"]) == ("unknown", "(unknown)")
    assert "kernel.kptr_restrict=2" in frame["unseen"]["symbols"]
    checked = kmemtrace("check")
    assert checked.returncode == 0
    assert "kptr_restrict" in checked.stdout


RELOADED = """
import sys
from pathlib import Path
from kmemtrace.kernel.capabilities import keep_only
from kmemtrace.kernel.symbols import Symbols
modules = Path(sys.argv[1])
symbols = Symbols(modules=modules)
address = symbols.text.start + 4096
before = symbols.function(address)
keep_only(["CAP_BPF"])
modules.write_text("newcomer 4096 0 - Live 0x0")
symbols.function(symbols.text.stop)  # as of a module: the table is read again
print(before == symbols.function(address), Symbols().hidden)
"""


def test_names_outlive_the_capability(tmp_path: Path) -> None:
    """As the exporter gives it up once attached, and modules are loaded later."""
    if kernel_symbols().hidden:
        pytest.skip(str(kernel_symbols().hidden))
    (tmp_path / "modules").touch()
    command = [sys.executable, "-c", RELOADED, str(tmp_path / "modules")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True without CAP_SYSLOG")
