"""`kmemtrace export` as its users run it, scraped by a real Prometheus."""

import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from dashboards.server import RULES
from kmemtrace.tracer.tracer import Tracer
from tests.live import workloads
from tests.live.test_command import COMMAND, POWERLESS, in_kernel, kmemtrace
from tests.live.test_workloads import PIPE_WRITE, at
from tests.live.workloads import held_in
from tests.prometheus import free_port, only, serve, tool, until
from tests.tracing import Watched

pytestmark = pytest.mark.own_tracer

MakeCgroup = Callable[[str], Path]
Watch = Callable[[Path], Watched]
PAGES, PAGE = 4099, 4096
DASHBOARDS = RULES.parent / "grafana"


class Exporter:
    def __init__(self, *options: str, notify: str | None = None) -> None:
        self.port = free_port()
        command = [*COMMAND, "export", f"--web.listen-address=127.0.0.1:{self.port}", *options]
        prefix = [] if notify is None else ["env", f"NOTIFY_SOCKET={notify}"]
        self.process = subprocess.Popen([*prefix, *command], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = "" if "--log.level=error" in options else self.process.stderr.readline()

    def scrape(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            return bytes(answer.read()).decode()

    def end(self) -> str:
        """What it still had to say."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=30)
        return said


Export = Callable[..., Exporter]


@pytest.fixture
def export(tracer: Tracer) -> Iterator[Export]:
    """Starts one; those that still run at the end are killed."""
    started = []

    def start(*options: str, notify: str | None = None) -> Exporter:
        started.append(Exporter(*options, notify=notify))
        return started[-1]

    yield start
    for exporter in started:
        if exporter.process.poll() is None:
            exporter.process.kill()
            exporter.process.communicate()


@pytest.fixture
def exporter(export: Export) -> Exporter:
    return export()


def test_what_prometheus_has_is_what_was_charged(
    export: Export, make_cgroup: MakeCgroup, watch: Watch, tmp_path: Path
) -> None:
    """To the page, 4,099 of them in pipes, by two tracers that know nothing of each other."""
    folder = make_cgroup("scraped")
    watched, exporter = watch(folder), export(f"--cgroup=/{folder.name}")
    of = f'{{cgroup="/{folder.name}"}}'
    charged, uncharged, held = (
        f"kmemtrace_{name}{of}" for name in ("charged_pages_total", "uncharged_pages_total", "held_bytes")
    )
    with serve(tmp_path, [f"127.0.0.1:{exporter.port}"]) as prometheus:
        with held_in(folder, lambda: workloads.fill_pipes(PAGES)):
            row = watched.row()
            assert at(row, PIPE_WRITE).charged_pages == PAGES
            until(lambda: only(prometheus, charged) == row.charged_pages, 30)
            assert only(prometheus, held) == row.held_pages * PAGE
            assert only(prometheus, uncharged) == row.uncharged_pages
        until(lambda: only(prometheus, f"{uncharged} == {charged}") is not None, 30)
        assert only(prometheus, held) == 0
        assert only(prometheus, charged) == watched.row().charged_pages
        assert only(prometheus, "sum(kmemtrace_mismatches_total)") == 0
    assert exporter.end() == ""


FUNCTIONS_ONLY = "only function probes time charges"
MAY_BE_EMPTY = {
    "instance:kmemtrace_charge_latency_seconds:p99_5m": FUNCTIONS_ONLY,
    "kmemtrace_charge_latency_seconds_bucket": FUNCTIONS_ONLY,
    "kmemtrace_charge_seconds_total": FUNCTIONS_ONLY,
    "kmemtrace_unseen_info": "there may be nothing that is not seen",
    "kmemtrace_missed_events_total": "the panel shows programs that missed something",
    "kmemtrace_exempt_total": "nothing need look like a mismatch",
    "kmemtrace_cgroup_info": "a test's cgroup has no name that tells who lives there",
    "kmemtrace_mismatches_total": "one cgroup's, which has none",
    "kmemtrace_lost_pages_total": "the panels show cgroups that lost some",
    "increase(instance:kmemtrace_mismatches:sum": "the annotation shows mismatches, and there are none",
}
"""Parts of expressions that need not have data on a healthy host, and why."""


def test_every_rule_and_panel_has_data(export: Export, make_cgroup: MakeCgroup, tmp_path: Path) -> None:
    """On a host with a workload; and no alert fires where all is well."""
    folder = make_cgroup("busy")
    exporter = export("--program-stats")
    target = f"127.0.0.1:{exporter.port}"
    with serve(tmp_path, [target]) as prometheus, held_in(folder, lambda: workloads.fill_pipes(PAGES)):
        until(lambda: bool(prometheus.query("instance:kmemtrace_charged_pages:rate5m > 0")), 60)
        chosen = {"job": "kmemtrace", "instance": target, "cgroup": f"/{folder.name}"}
        expressions = {name: name for name in rules("record")} | panels(chosen)
        assert len(expressions) > 50
        empty = {name: e for name, e in expressions.items() if not prometheus.query(e)}
        unexplained = {name: e for name, e in empty.items() if not any(part in e for part in MAY_BE_EMPTY)}
        assert unexplained == {}
        health = {
            rule["name"]: rule["health"]
            for group in prometheus.ask("rules")["groups"]
            for rule in group["rules"]
        }
        assert health == dict.fromkeys(rules("record") | rules("alert"), "ok")
        assert prometheus.query('ALERTS{alertstate="firing"}') == []


def panels(chosen: dict[str, str]) -> dict[str, str]:
    """Each query of each panel, annotation and variable of the dashboards, as Grafana would ask it."""
    found = {}
    for file in DASHBOARDS.glob("*.json"):
        board = json.loads(file.read_text())
        for panel in every_panel(board["panels"]):
            for number, target in enumerate(panel.get("targets", [])):
                found[f"{file.stem}: {panel['title']} {number}"] = target["expr"]
        for annotation in board["annotations"]["list"]:
            found[f"{file.stem}: {annotation['name']}"] = annotation["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                name = f"{file.stem}: ${variable['name']}"
                found[name] = re.sub(r"label_values\((.*), \w+\)", r"\1", variable["query"])
    return {name: asked(expression, chosen) for name, expression in found.items()}


def every_panel(of: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in of:
        yield panel
        yield from every_panel(panel.get("panels", []))


def asked(expression: str, chosen: dict[str, str]) -> str:
    for name, value in ({"__rate_interval": "4s"} | chosen).items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


def test_all_hosts_in_one_table(
    export: Export, make_cgroup: MakeCgroup, watch: Watch, tmp_path: Path
) -> None:
    """Two exporters on this kernel, under the names of two hosts."""
    folder = make_cgroup("fleet")
    targets = [f"127.0.0.1:{export().port}" for _ in range(2)]
    with serve(tmp_path, targets) as prometheus, held_in(folder, lambda: workloads.fill_pipes(PAGES)):
        held = watch(folder).row().held_pages
        of = f'kmemtrace_held_bytes{{cgroup="/{folder.name}"}}'
        until(lambda: [s.value for s in prometheus.query(of)] == [held * PAGE] * 2, 30)
        until(lambda: len(prometheus.query("kmemtrace_census_seconds")) == 2, 30)
        asked = ["top", "--prometheus", prometheus.url, "--once", "--duration=3"]
        done = kmemtrace(*asked, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        document = json.loads(done.stdout)
        assert document["hosts"] == 2
        found = {c["host"]: c["held_pages"] for c in document["cgroups"] if c["path"] == f"/{folder.name}"}
        assert found == dict.fromkeys(targets, held)
        accounts = [c["account"] for c in document["cgroups"] if "account" in c]
        assert any(account.get("kernel_bytes", 0) > 0 for account in accounts)
        done = kmemtrace(*asked, prefix=POWERLESS)
        assert (done.returncode, done.stderr) == (0, "")
        assert all(target in done.stdout for target in targets)
        assert "KERNEL" in done.stdout


def rules(kind: str) -> dict[str, str]:
    """Expressions by name, of "record" or "alert"."""
    files = [yaml.safe_load(file.read_text()) for file in RULES.glob("kmemtrace.[ra]*.yml")]
    found = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule[kind]: rule["expr"] for rule in found if kind in rule}


def test_promtool_has_nothing_to_say(exporter: Exporter) -> None:
    command = [tool("promtool"), "check", "metrics"]
    said = subprocess.run(command, input=exporter.scrape(), capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_it_keeps_what_reading_takes_and_nothing_else(exporter: Exporter) -> None:
    status = Path(f"/proc/{exporter.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    bpf, read_search = 1 << 39, 1 << 2
    assert int(fields["CapEff"], 16) == bpf | read_search
    assert int(fields["CapPrm"], 16) == bpf | read_search
    assert int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    time.sleep(1.1)
    assert "kmemtrace_build_info" in exporter.scrape(), "a further reading works without the rest"


def test_word_to_the_service_manager(export: Export, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        exporter = export(notify=address)
        assert manager.recv(1000) == b"READY=1"
        exporter.process.send_signal(signal.SIGHUP)
        first = manager.recv(1000).decode().splitlines()
        assert first[0] == "RELOADING=1"
        assert first[1].startswith("MONOTONIC_USEC=")
        assert manager.recv(1000) == b"READY=1"
        exporter.process.terminate()
        assert manager.recv(1000) == b"STOPPING=1"
        assert exporter.process.wait(30) == 0
        exporter.process.communicate()


def test_hang_up_reads_the_configuration_anew(export: Export, tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("")
    exporter = export(f"--web.config.file={file}")
    assert "kmemtrace_build_info" in exporter.scrape()
    file.write_text(f"basic_auth_users: {{ann: {bcrypt.hashpw(b'sesame', bcrypt.gensalt(4)).decode()}}}")
    exporter.process.send_signal(signal.SIGHUP)
    assert exporter.process.stderr is not None
    said = exporter.process.stderr.readline()
    assert said.endswith(" was read again; now hold: no TLS; passwords of 1 name; no headers\n")
    assert refused(exporter)
    for text, says in (("basic_auth: {}", "no key 'basic_auth'"), ("", "is without passwords")):
        file.write_text(text)
        exporter.process.send_signal(signal.SIGHUP)
        said = exporter.process.stderr.readline()
        assert says in said
        assert "The configuration stays as it was: no TLS; passwords of 1 name; no headers." in said
        assert refused(exporter), "the configuration of before holds"
    assert exporter.end() == ""


def refused(exporter: Exporter) -> bool:
    try:
        exporter.scrape()
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def test_the_options_of_other_exporters(export: Export) -> None:
    exporter = export("--web.telemetry-path=/probe", "--log.level=error", "--listen-address=127.0.0.1:0")
    until(lambda: answers(exporter, "/probe"), 120)
    assert not answers(exporter, "/metrics")
    assert exporter.end() == "", "not where it serves: that is no error"


def answers(exporter: Exporter, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}{path}", timeout=20):
            return True
    except OSError:
        return False


def test_it_ends_and_leaves_nothing(export: Export) -> None:
    before = in_kernel()
    exporter = export()
    assert exporter.said == f"kmemtrace: serving http://127.0.0.1:{exporter.port}/metrics\n"
    of_it = in_kernel() - before
    assert {kind for kind, _ in of_it} >= {"prog", "map"}
    assert exporter.end() == ""
    assert exporter.process.returncode == 0
    until(lambda: not in_kernel() & of_it, 20)


def test_run_time_of_the_programs_on_request(export: Export) -> None:
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    exporter = export("--program-stats")
    runs = [
        line for line in exporter.scrape().splitlines() if line.startswith("kmemtrace_program_runs_total")
    ]
    assert any(float(line.split()[-1]) > 0 for line in runs)
    assert exporter.end() == ""
    assert switch.read_text() == before


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--listen-address=nowhere"], 2, "no HOST:PORT"),
        (["--listen-address=::1:9796"], 2, "in brackets"),
        (["--web.listen-address=192.0.2.1:9796"], 4, "Name another --web.listen-address"),
        (["--web.telemetry-path=metrics"], 2, "no path"),
        (["--web.telemetry-path=/-/ready"], 2, "is taken"),
        (["--log.level=loud"], 2, "invalid choice"),
        (["--max-bytes=1k"], 2, "not a number from"),
        (["--web.config.file=/no/such/file"], 2, "cannot be read"),
        (["--max-cgroups=0"], 2, "not a number from 1"),
    ],
)
def test_wrong_usage(options: list[str], status: int, says: str) -> None:
    done = kmemtrace("export", *options)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(tracer: Tracer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = kmemtrace("export", f"--listen-address=127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert "Address already in use" in done.stderr
