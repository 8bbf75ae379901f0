"""What the exporter answers, to whom, and that it goes on answering whatever the others do."""

import base64
import gzip
import http.client
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest
import trustme
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from kmemtrace.exporter import web_config
from kmemtrace.model.snapshot import Snapshot
from tests.sample import busy
from tests.web.conftest import Export, Exporter

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def ask(
    exporter: Exporter,
    path: str = "/metrics",
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("localhost", exporter.port, timeout=10)
    if tls is not None:
        connection = http.client.HTTPSConnection("localhost", exporter.port, timeout=10, context=tls)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_classic_text(export: Export) -> None:
    response, body = ask(export())
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in classic(body.decode())}
    assert {"kmemtrace_charged_pages", "kmemtrace_build_info", "process_resident_memory_bytes"} <= names


def test_openmetrics(export: Export) -> None:
    response, body = ask(export(), headers={"Accept": OPENMETRICS})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    names = {family.name for family in openmetrics(body.decode())}  # type: ignore[no-untyped-call]
    assert "kmemtrace_charged_pages" in names


def test_gzip_where_it_is_accepted(export: Export) -> None:
    exporter = export()
    response, body = ask(exporter, headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert b"kmemtrace_charged_pages_total" in gzip.decompress(body)
    response, body = ask(exporter, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in response.headers
    assert b"kmemtrace_charged_pages_total" in body


def test_head_has_no_body(export: Export) -> None:
    response, body = ask(export(), method="HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 1000


def test_page_for_people(export: Export) -> None:
    response, body = ask(export(), "/")
    assert response.headers["Content-Type"].startswith("text/html")
    text = body.decode()
    for word in ('href="metrics"', 'href="healthz"', "node-7", "tracepoint", "function probes only"):
        assert word in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/metrics", 405), ("GET", "/metrics/", 404)],
)
def test_what_there_is_not(export: Export, method: str, path: str, status: int) -> None:
    assert ask(export(), path, method=method)[0].status == status


def test_a_reading_is_shared_for_a_second(export: Export) -> None:
    readings: list[float] = []

    def read() -> Snapshot:
        readings.append(time.monotonic())
        time.sleep(0.2)
        return busy(len(readings))

    exporter = export(read=read)
    begin = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(exporter), range(50)))
    assert {response.status for response, _ in answers} == {200}
    assert len(readings) <= 2 + (time.monotonic() - begin), "50 at once share one, but for slow machines"
    time.sleep(1.1)
    ask(exporter)
    assert readings[-1] - readings[-2] > 1.0


def test_a_failed_reading_is_told_and_passes(
    export: Export, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def read() -> Snapshot:
        if broken:
            raise OSError("no more files")
        return busy()

    exporter = export(read=read)
    response, body = ask(exporter)
    assert (response.status, body) == (503, b"The reading failed: no more files\n")
    assert ask(exporter, "/healthz")[0].status == 503
    assert "no more files" in capfd.readouterr().err
    broken = False
    assert ask(exporter)[0].status == 200
    assert ask(exporter, "/healthz")[0].status == 200


def still_answers(exporter: Exporter) -> None:
    begin = time.monotonic()
    assert ask(exporter)[0].status == 200
    assert time.monotonic() - begin < 5


def test_nothing_is_left_of_a_scrape(export: Export, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither a descriptor nor a line."""
    exporter = export()

    def descriptors() -> int:
        while exporter.server.connections:
            time.sleep(0.01)
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    ask(exporter)
    before = descriptors()
    for _ in range(200):
        ask(exporter)
    # One is not closed yet when it is not counted any more.
    assert abs(descriptors() - before) <= 2
    exporter.run(exporter.server.stop())
    assert capfd.readouterr().err == ""


def test_those_who_hang_up(export: Export) -> None:
    exporter = export()
    for asked in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n") * 20:
        with exporter.connect() as connection:
            connection.sendall(asked)
    still_answers(exporter)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        b"\x00\xff" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000,
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET http://\xff/ HTTP/9.9\r\n\r\n",
    ],
    ids=["long path", "long header", "many headers", "noise", "TLS", "long body", "bad length", "bad line"],
)
def test_what_nobody_should_ask(export: Export, asked: bytes) -> None:
    exporter = export()
    with exporter.connect() as connection:
        try:
            connection.sendall(asked)
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    still_answers(exporter)


def test_what_is_no_http_floods_neither_the_log_nor_the_answer(
    export: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    exporter = export()
    for number in range(300):
        with exporter.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nA b\x1b[2J: %s%d\r\n\r\n" % (b"quoted" * 1000, number))
            answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")
        assert answer.endswith(b"\r\n\r\nBad Request\n")
        assert len(answer) < 250
    exporter.run(exporter.server.stop())
    (first, rest) = capfd.readouterr().err.splitlines()
    assert first.startswith("kmemtrace: A connection from 127.0.0.1 got status 400")
    assert rest == f"{first} (299 more of this kind since the line before)"


def test_formats_are_few_whatever_is_asked_for(export: Export) -> None:
    """Each is a page that is made and kept."""
    exporter = export()
    for version in ("1.0.0", "1.0.1", "7.9", "x", ""):
        for kind in ("application/openmetrics-text", "text/plain"):
            response, _ = ask(exporter, headers={"Accept": f"{kind}; version={version}"})
            assert response.status == 200
            assert response.headers["Content-Type"].startswith(
                f"{kind}; version={'0.0.4' if kind == 'text/plain' else '1.0.0'}"
            )


@pytest.mark.parametrize("path", ["/healthz", "/-/healthy", "/-/ready"])
def test_health(export: Export, path: str) -> None:
    broken = False

    def read() -> Snapshot:
        if broken:
            raise OSError("no more files")
        return busy()

    exporter = export(read=read)
    assert ask(exporter, path)[0].status == 503, "before the first reading"
    ask(exporter)
    assert ask(exporter, path)[1] == b"ok\n"
    broken = True
    while ask(exporter)[0].status == 200:
        time.sleep(0.1)
    assert ask(exporter, path)[0].status == (503 if path == "/-/ready" else 200)


@pytest.mark.parametrize("path", ["/m", "/probe/kmem.metrics", "/"])
def test_metrics_elsewhere(export: Export, path: str) -> None:
    exporter = export(path=path)
    assert b"kmemtrace_build_info" in ask(exporter, path)[1]
    assert ask(exporter, "/metrics")[0].status == 404
    if path != "/":
        assert f'href="{path[1:]}"'.encode() in ask(exporter, "/")[1]


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


Load = Callable[[str], web_config.WebConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str) -> web_config.WebConfig:
        (tmp_path / "web.yml").write_text(text)
        return web_config.load(tmp_path / "web.yml")

    return from_text


USERS = f"basic_auth_users: {{ann: {bcrypt.hashpw(b'sesame', bcrypt.gensalt(4)).decode()}}}\n"


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
def test_basic_authentication(export: Export, load: Load, path: str) -> None:
    exporter = export(load(USERS))
    response, body = ask(exporter, path)
    assert (response.status, body) == (401, b"Unauthorized\n")
    assert response.headers["WWW-Authenticate"].startswith('Basic realm="kmemtrace"')
    for wrong in (
        basic("ann", "open"),
        basic("eve", "sesame"),
        {"Authorization": "Basic !"},
        {"Authorization": "Bearer a"},
        {"Authorization": ""},
    ):
        assert ask(exporter, path, headers=wrong)[0].status == 401
    ask(exporter, headers=basic("ann", "sesame"))
    assert ask(exporter, path, headers=basic("ann", "sesame"))[0].status == 200


def test_headers_are_on_every_answer(export: Export, load: Load) -> None:
    exporter = export(load("http_server_config: {headers: {X-Frame-Options: deny}}"))
    for path in ("/", "/metrics", "/healthz", "/nothing"):
        assert ask(exporter, path)[0].headers["X-Frame-Options"] == "deny"


TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem%s}\n"
CLIENTS = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    issue(authority, tmp_path)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


def issue(authority: trustme.CA, folder: Path) -> None:
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(folder / "key.pem")
    pair.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls(export: Export, load: Load, authority: trustme.CA) -> None:
    exporter = export(load(TLS % ""))
    assert ask(exporter, tls=trusting(authority))[0].status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(exporter, tls=ssl.create_default_context())
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(exporter)
    assert ask(exporter, tls=trusting(authority))[0].status == 200


def test_client_certificates(export: Export, load: Load, authority: trustme.CA) -> None:
    exporter = export(load(TLS % CLIENTS + USERS))
    known, stranger, nobody = (trusting(authority) for _ in range(3))
    authority.issue_cert("client").configure_cert(known)
    trustme.CA().issue_cert("client").configure_cert(stranger)
    for context in (stranger, nobody):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(exporter, tls=context)
    assert ask(exporter, tls=known)[0].status == 401
    assert ask(exporter, tls=known, headers=basic("ann", "sesame"))[0].status == 200


def test_a_new_configuration_holds_from_the_next_connection_on(
    export: Export, load: Load, authority: trustme.CA, tmp_path: Path
) -> None:
    exporter = export()
    open_before = http.client.HTTPConnection("localhost", exporter.port, timeout=10)
    open_before.request("GET", "/healthz")
    open_before.getresponse().read()
    exporter.server.reconfigure(load(TLS % ""))
    assert ask(exporter, tls=trusting(authority))[0].status == 200
    open_before.request("GET", "/metrics")
    assert open_before.getresponse().status == 200
    open_before.close()
    newer = trustme.CA()
    issue(newer, tmp_path)
    exporter.server.reconfigure(load(TLS % ""))
    assert ask(exporter, tls=trusting(newer))[0].status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(exporter, tls=trusting(authority))
