"""kernel.kptr_restrict=2: the kernel tells nobody where its functions are."""

import json
from pathlib import Path

from tests.boots.command import kmemtrace
from tests.live.workloads import fill_pipes, held_in
from tests.tracing import new_cgroup


def test_call_sites_are_told_as_not_nameable() -> None:
    assert Path("/proc/sys/kernel/kptr_restrict").read_text().strip() == "2"
    checked = json.loads(kmemtrace("check", "--json").stdout)
    assert checked["tier"] is not None
    assert "kptr_restrict=2" in checked["symbols"]


def test_no_kind_is_made_up_where_there_are_no_names() -> None:
    folder = new_cgroup("nameless")
    try:
        with held_in(folder, lambda: fill_pipes(101)):
            done = kmemtrace("top", "--once", "--duration=2", "--json", f"--cgroup=/{folder.name}")
    finally:
        folder.rmdir()
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert "kptr_restrict=2" in document["unseen"]["symbols"]
    sites = [site for cgroup in document["cgroups"] for site in cgroup["sites"]]
    assert all(site["kind"] != "other" for site in sites)
