"""A Snapshot of several hosts, from what a Prometheus server answers."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import jsonschema
import pytest

from kmemtrace.errors import CannotError, UsageError
from kmemtrace.fleet.prometheus import Prometheus, Sample
from kmemtrace.fleet.snapshots import Fleet
from kmemtrace.model.document import document
from kmemtrace.model.enums import CgroupState, Tier
from kmemtrace.model.losses import MapFill
from kmemtrace.model.rows import rows
from kmemtrace.model.unseen import Unseen
from kmemtrace.model.view import View
from kmemtrace.tui.plain import frame
from tests.prometheus import ROOT


def sample(name: str, value: float, instance: str = "a:9796", **labels: str) -> Sample:
    named = {k.removesuffix("_"): v for k, v in labels.items()}
    return Sample(f"kmemtrace_{name}", {"job": "kmemtrace", "instance": instance} | named, value)


def hosts() -> list[Sample]:
    return [
        sample("build_info", 1, version="0.1.0", tier="fentry", kernel="6.12"),
        sample("build_info", 1, "b:9796", version="0.1.0", tier="tracepoint", kernel="6.18"),
        sample("page_size_bytes", 4096),
        sample("own_map_bytes", 100),
        sample("own_map_bytes", 11, "b:9796"),
        sample("map_entries", 50, map="pages"),
        sample("map_capacity", 100, map="pages"),
        sample("map_entries", 60, "b:9796", map="pages"),
        sample("map_capacity", 200, "b:9796", map="pages"),
        sample("missed_events_total", 3, program="page_free", reason="recursion"),
        sample("missed_events_total", 4, "b:9796", program="page_free", reason="recursion"),
        sample("missed_events_total", 5, "b:9796", program="pages", reason="full"),
        sample("mended_pages_total", 7, how="healed"),
        sample("unknown_stacks_total", 2),
        sample("unknown_stacks_total", 9, "b:9796"),
        sample("missed_events_total", 0, program="charge_exit", reason="unpaired"),
        sample("unseen_info", 1, "b:9796", what="charge", reason="no kprobes"),
        sample("census_seconds", 0.5),
        sample("census_age_seconds", 7),
        sample("dying_cgroups", 3),
        sample("pinned_bytes", 8192, part="file"),
        sample("lost_pages_total", 0, cgroup="(other)", class_="lost_uncharge", confidence="certain"),
        sample("lost_pages_total", 5, cgroup="/web", class_="lost_uncharge", confidence="certain"),
        sample("lost_pages_total", 4, cgroup="/web", class_="lost_uncharge", confidence="suspect"),
        sample("mismatches_total", 0, cgroup="(other)", class_="wrong_cgroup", confidence="certain"),
        sample("mismatches_total", 2, cgroup="/web", class_="lost_uncharge", confidence="certain"),
    ]


HELD = [
    sample("held_bytes", 100 * 4096, cgroup="/web", state="online"),
    sample("held_bytes", 10 * 4096, cgroup="/web", state="dead"),
    sample("held_bytes", 7 * 4096, "b:9796", cgroup="/web", state="online"),
]


class Server(Prometheus):
    """Answers from a list."""

    def __init__(self) -> None:
        super().__init__("http://nowhere:9090")
        self.hosts, self.held = hosts(), HELD
        self.charged = 500.0

    def query(self, expression: str) -> list[Sample]:
        if expression.startswith("{") and "build_info" in expression:
            return self.hosts
        if "charged_pages_total" in expression:
            return [
                sample("charged_pages_total", self.charged, cgroup="/web"),
                # Younger than what its cgroup holds.
                sample("charged_pages_total", 3, "b:9796", cgroup="/web"),
                sample("failed_charges_total", 2, cgroup="/web"),
                sample("kernel_bytes", 5 << 20, cgroup="/web"),
                sample("account_bytes", 1 << 20, cgroup="/web", part="pages"),
                sample("account_bytes", 3 << 20, cgroup="/web", part="slab"),
            ]
        return self.held


def test_of_all_hosts() -> None:
    snapshot = Fleet(Server()).snapshot()
    assert (snapshot.hosts, snapshot.host, snapshot.kernel) == (2, "2 hosts", "2 kernels")
    assert snapshot.tier is Tier.TRACEPOINT
    assert snapshot.own_bytes == 111
    assert snapshot.maps == {"pages": MapFill(50, 100)}
    assert snapshot.losses.recursion_misses == {"page_free": 7}
    assert snapshot.losses.missed_events == 12
    assert snapshot.losses.healed == 7
    assert snapshot.losses.unknown_stacks == 11
    assert snapshot.unseen[Unseen.CHARGE] == "not on 1 of the hosts: no kprobes"
    (found,) = snapshot.mismatches
    assert (found.mismatch_class, found.count, found.host) == ("lost_uncharge", 2, "a:9796")


def test_cgroups_by_host_and_state() -> None:
    cgroups = Fleet(Server()).snapshot().cgroups
    assert [(c.host, c.path, c.state, c.held_pages) for c in cgroups] == [
        ("a:9796", "/web", CgroupState.ONLINE, 100),
        ("a:9796", "/web", CgroupState.DEAD, 10),
        ("b:9796", "/web", CgroupState.ONLINE, 7),
    ]
    assert [c.charged_pages for c in cgroups] == [500, 10, 7]
    assert [c.failed_charges for c in cgroups] == [2, 0, 0]
    assert [dict(c.mismatches) for c in cgroups] == [{"lost_uncharge": 2}, {}, {}]
    assert len({c.key for c in cgroups}) == 3


def test_accounts_and_lost_pages() -> None:
    snapshot = Fleet(Server()).snapshot()
    web, dead, elsewhere = snapshot.cgroups
    assert web.account is not None
    assert (web.account.kernel_bytes, web.account.slab_bytes) == (5 << 20, 3 << 20)
    assert web.account.unexplained_bytes == 1 << 20
    assert web.account.percpu_bytes is None, "that host does not tell"
    assert (dead.account, elsewhere.account) == (None, None)
    assert [c.lost_pages for c in snapshot.cgroups] == [5, 0, None]
    assert [c.held_pages for c in snapshot.cgroups] == [100, 10, 7], "lost pages are not held"
    assert [m.lost_pages for m in snapshot.mismatches] == [5]
    assert snapshot.census is not None
    assert (snapshot.census.dying_cgroups, snapshot.census.pinned) == (3, {"file": 8192})
    assert snapshot.unseen[Unseen.ACCOUNT] == "not on 1 of the hosts"
    assert "caches" in snapshot.unseen


def test_where_no_host_takes_a_census() -> None:
    server = Server()
    server.hosts = [s for s in server.hosts if "census" not in s.name]
    snapshot = Fleet(server).snapshot()
    assert (snapshot.census, snapshot.unseen[Unseen.ACCOUNT]) == (None, "not on 2 of the hosts")
    assert "KERNEL" not in frame(snapshot, None, View(), 120, None)


def test_rates_are_those_between_two_readings() -> None:
    server = Server()
    fleet = Fleet(server)
    first = fleet.snapshot()
    assert [row.charge_rate for row in rows(first, None, View())] == [None, None, None]
    server.charged = 800
    server.held = [sample("held_bytes", 150 * 4096, cgroup="/web", state="online")]
    second = fleet.snapshot()
    (row,) = rows(second, first, View())
    assert row.charge_rate is not None
    assert row.uncharge_rate is not None
    assert row.charge_rate * second.seconds_since(first) == pytest.approx(300)
    assert row.uncharge_rate * second.seconds_since(first) == pytest.approx(250)
    assert row.key == rows(first, None, View())[0].key


def test_its_frame_has_hosts_and_no_call_sites() -> None:
    text = frame(Fleet(Server()).snapshot(), None, View(filter="b:97"), 120, None)
    heading = next(line for line in text.splitlines() if line.startswith("CGROUP"))
    assert "HOST" in heading
    assert "KERNEL" in heading
    assert "SLAB" in heading
    assert "TOP SITE" not in heading
    assert "OLDEST" not in heading
    assert "charge/s -" in text, "nothing to tell a rate from yet"
    assert "b:9796" in text
    assert "a:9796" not in text, "the filter looks at hosts too"


def test_trees_are_by_host() -> None:
    server = Server()
    server.held = [
        sample("held_bytes", 4096, host, cgroup=path, state="online")
        for host in ("a:9796", "b:9796")
        for path in ("/web", "/web/one")
    ]
    table = rows(Fleet(server).snapshot(), None, View(tree=True))
    assert sorted((r.host or "", r.name, r.depth) for r in table) == [
        ("a:9796", "/", 0),
        ("a:9796", "/web", 1),
        ("a:9796", "/web/one", 2),
        ("b:9796", "/", 0),
        ("b:9796", "/web", 1),
        ("b:9796", "/web/one", 2),
    ]


def test_its_document_names_hosts() -> None:
    told = json.loads(json.dumps(document(Fleet(Server()).snapshot())))
    jsonschema.validate(told, json.loads((ROOT / "docs" / "top.schema.json").read_text()))
    assert told["hosts"] == 2
    assert {c["host"] for c in told["cgroups"]} == {"a:9796", "b:9796"}
    assert told["mismatches"][0]["host"] == "a:9796"


def test_a_server_that_knows_nothing_of_us() -> None:
    server = Server()
    server.hosts = []
    with pytest.raises(CannotError, match="knows no host with kmemtrace"):
        Fleet(server).snapshot()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("build_info", "tier"),
        ("map_entries", "map"),
        ("map_capacity", "map"),
        ("missed_events_total", "program"),
        ("missed_events_total", "reason"),
        ("mended_pages_total", "how"),
        ("lost_pages_total", "confidence"),
        ("mismatches_total", "cgroup"),
        ("mismatches_total", "class"),
        ("mismatches_total", "confidence"),
        ("unseen_info", "what"),
        ("held_bytes", "state"),
    ],
)
def test_series_without_a_label(name: str, label: str) -> None:
    """As a rule of the server's leaves them that aggregates or relabels."""
    server = Server()
    server.hosts, server.held = (
        [without(s, label) if s.name == f"kmemtrace_{name}" else s for s in told]
        for told in (server.hosts, server.held)
    )
    with pytest.raises(CannotError, match=f"^kmemtrace_{name} has a series without its label `{label}`"):
        Fleet(server).snapshot()


def without(one: Sample, label: str) -> Sample:
    return Sample(one.name, {k: v for k, v in one.labels.items() if k != label}, one.value)


@pytest.mark.parametrize(
    ("strange", "says"),
    [
        (sample("held_bytes", 1, cgroup="/web", state="undead"), "`state` is 'undead', none of online, dead"),
        (sample("build_info", 1, tier="best", kernel="6.12"), "`tier` is 'best', none of tracepoint, "),
    ],
)
def test_series_with_a_strange_label(strange: Sample, says: str) -> None:
    server = Server()
    server.hosts, server.held = [*server.hosts, strange], [*server.held, strange]
    server.hosts = [s for s in server.hosts if s.name != "kmemtrace_held_bytes"]
    server.held = [s for s in server.held if s.name == "kmemtrace_held_bytes"]
    with pytest.raises(CannotError) as error:
        Fleet(server).snapshot()
    assert says in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9090",
        "ftp://a",
        "http://",
        "/x",
        "http://localhost:9090x",
        "http://localhost:99999",
        "http://local host:9090",
        "http://localhost:9090/my prefix",
        "http://[::1:9090",
        "http://::1]:9090",
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL"):
        Prometheus(url)


@pytest.fixture
def answering() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        answer: tuple[int, bytes] = (200, b"")
        asked: dict[str, str]

        def do_POST(self) -> None:
            Handler.asked = dict(self.headers)
            self.send_response(Handler.answer[0])
            self.end_headers()
            self.wfile.write(Handler.answer[1])

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((400, b'{"status":"error","error":"parse error"}'), "answers 400 Bad Request: parse error"),
        ((502, b"<html>"), "answers 502 Bad Gateway: no reason given"),
        ((200, b"<html>"), "answers as no Prometheus does"),
        ((200, b"[]"), "answers as no Prometheus does"),
        ((200, b'{"data":{"result":[{"metric":{},"value":[1]}]}}'), "answers as no Prometheus does"),
    ],
)
def test_answers_that_are_none(answering: HTTPServer, answer: tuple[int, bytes], says: str) -> None:
    answering.RequestHandlerClass.answer = answer  # type: ignore[attr-defined]
    with pytest.raises(CannotError) as error:
        Prometheus(f"http://127.0.0.1:{answering.server_port}").query("up")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "BadStatusLine"),
        (b"\x1b[2J\r\n", "x1b[2J"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, "LineTooLong"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"data":', "IncompleteRead"),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"da', "IncompleteRead"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\n{", "answers 500 Oh: no reason given"),
        (b"", "answers as no Prometheus does"),
    ],
)
def test_what_speaks_no_http(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=answer_once, args=(listening, answer))
        thread.start()
        with pytest.raises(CannotError) as error:
            Prometheus(f"http://127.0.0.1:{listening.getsockname()[1]}").query("up")
        thread.join()
    assert says in str(error.value)
    assert str(error.value).isprintable()


def answer_once(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        asked = b""
        while not asked.endswith(b"query=up"):  # all of it: what is unread at the close resets the connection
            asked += connection.recv(4096)
        connection.sendall(answer)


def test_password_of_the_url(answering: HTTPServer) -> None:
    result = {"metric": {"__name__": "up", "job": "a"}, "value": [1.5, "1"]}
    body = json.dumps({"data": {"result": [result]}}).encode()
    answering.RequestHandlerClass.answer = (200, body)  # type: ignore[attr-defined]
    server = Prometheus(f"http://ann:open%20sesame@127.0.0.1:{answering.server_port}/")
    assert server.query("up") == [Sample("up", {"job": "a"}, 1.0)]
    asked = answering.RequestHandlerClass.asked  # type: ignore[attr-defined]
    assert asked["Authorization"] == "Basic YW5uOm9wZW4gc2VzYW1l"
    assert "ann" not in server.url


def test_nobody_there() -> None:
    with pytest.raises(CannotError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        Prometheus("http://127.0.0.1:1").query("up")
