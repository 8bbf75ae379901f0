"""--web.config.file: what Prometheus's exporter toolkit takes, and plain words for what it is not."""

import ssl
import textwrap
from pathlib import Path

import bcrypt
import pytest
import trustme

from kmemtrace.errors import UsageError
from kmemtrace.exporter import web_config
from kmemtrace.exporter.admission import Pair

HASH = bcrypt.hashpw(b"open sesame", b"$2b$04$" + 22 * b".").decode()
"""The same each time, as it is in the names of tests."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    pair = authority.issue_cert("localhost")
    pair.private_key_pem.write_to_path(folder / "key.pem")
    pair.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(folder / "other.pem")
    return folder


def load(folder: Path, text: str) -> web_config.WebConfig:
    file = folder / "web.yml"
    file.write_text(text)
    return web_config.load(file)


TLS = "tls_server_config: {cert_file: cert.pem, key_file: key.pem%s}"


def test_without_a_file_everybody_is_let_in() -> None:
    config = web_config.load(None)
    assert (config.tls, bool(config.users), config.headers) == (None, False, {})


def test_empty_file_is_fine(folder: Path) -> None:
    assert load(folder, "# nothing\n").tls is None


def test_users(folder: Path) -> None:
    users = load(folder, f"basic_auth_users: {{ann: {HASH}, bob: {HASH}}}").users
    assert users
    assert users.check(Pair("ann", "open sesame"))
    assert users.check(Pair("bob", "open sesame"))
    assert not users.check(Pair("ann", "open"))
    assert not users.check(Pair("eve", "open sesame"))
    assert not users.check(Pair("ann", "x" * 100))
    assert not users.check(Pair("", ""))


def test_tls(folder: Path) -> None:
    tls = load(folder, TLS % "").tls
    assert tls is not None
    assert (tls.minimum_version, tls.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_NONE)
    more = ", min_version: TLS13, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
    tls = load(folder, TLS % more).tls
    assert tls is not None
    assert (tls.minimum_version, tls.verify_mode) == (ssl.TLSVersion.TLSv1_3, ssl.CERT_REQUIRED)


def test_ciphers_have_the_names_of_go(folder: Path) -> None:
    suites = (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    )
    tls = load(folder, TLS % f", cipher_suites: [{', '.join(suites)}]").tls
    assert tls is not None
    names = {suite["name"] for suite in tls.get_ciphers() if suite["protocol"] != "TLSv1.3"}
    assert names == {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-SHA"}


def test_headers(folder: Path) -> None:
    config = load(folder, "http_server_config: {http2: true, headers: {X-Frame-Options: deny}}")
    assert config.headers == {"X-Frame-Options": "deny"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "the file must be a table"),
        ("tls: {}", "no key 'tls'"),
        ("tls_server_config: {cert_file: cert.pem}", "needs key_file"),
        ("tls_server_config: {}", "needs cert_file"),
        ("tls_server_config: {cert: x}", "no key 'cert'"),
        ("tls_server_config: {cert_file: none.pem, key_file: key.pem}", "No such file"),
        ("tls_server_config: {cert_file: cert.pem, key_file: other.pem}", "do not go together"),
        (TLS % ", min_version: TLS9", "no TLS version 'TLS9'"),
        (TLS % ", min_version: [1]", "no TLS version"),
        (TLS % ", client_auth_type: Maybe", "there is no value 'Maybe'"),
        (TLS % ", client_auth_type: RequireAndVerifyClientCert", "needs client_ca_file"),
        (TLS % ", client_auth_type: RequireAnyClientCert", "is not supported"),
        (TLS % ", client_ca_file: ca.pem", "lets everybody in"),
        (TLS % ", cipher_suites: [TLS_NO_WITH_SUCH]", "no suite that OpenSSL knows"),
        (TLS % ", cipher_suites: 7", "cipher_suites: must be a list"),
        (TLS % ", client_allowed_sans: [a]", "client_allowed_sans is not supported"),
        ("basic_auth_users: {ann: secret}", "basic_auth_users.ann: its password is no bcrypt hash"),
        ("basic_auth_users: [ann]", "basic_auth_users: must be a table"),
        (f"basic_auth_users: {{ann: {HASH[:-1]}}}", "is no bcrypt hash"),
        (f"basic_auth_users: {{ann: {HASH}, ann: {HASH}}}", "is there twice"),
        (f"basic_auth_users: {{7: {HASH}}}", "the key 7 is no text"),
        ("http_server_config: {headers: {X-Nothing: a}}", "no key 'X-Nothing'"),
        ("a: b: c", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"^--web\.config\.file") as error:
        load(folder, text)
    assert says in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        web_config.load(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  min_version: TLS9\n",
            "line 4, tls_server_config.min_version: ",
        ),
        ("# users\n\nbasic_auth_users:\n  ann: secret\n", "line 4, basic_auth_users.ann: "),
        (
            "http_server_config:\n  headers:\n    X-Nothing: a\n",
            "line 3, http_server_config.headers.X-Nothing: ",
        ),
        (
            "tls_server_config:\n  cert_file: none.pem\n  key_file: key.pem\n",
            "line 2, tls_server_config.cert_file: ",
        ),
        ("http_server_config: {}\ntls_server_config:\n  key_file: key.pem\n", "line 3, tls_server_config: "),
        ("basic_auth_users:\n  ann: secret\n bob: secret\n", "line 3 cannot be read"),
        ("\n\nbasic_auth: {}\n", "line 3, basic_auth: "),
    ],
)
def test_errors_name_file_line_and_key(folder: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        load(folder, text)
    said = str(error.value)
    assert said.startswith(f"--web.config.file {folder / 'web.yml'}, ")
    assert says in said
    assert "secret" not in said


WHOLE = textwrap.dedent(f"""\
    tls_server_config:
      cert_file: cert.pem
      key_file: key.pem
      client_ca_file: ca.pem
      client_auth_type: RequireAndVerifyClientCert
    http_server_config:
      headers:
        X-Frame-Options: deny
    basic_auth_users:
      ann: {HASH}
    """)


def test_a_file_that_was_cut_off_anywhere_takes_nothing_away(folder: Path) -> None:
    """Whatever is read from a part of it, all of it holds, or none of the part does."""
    before = load(folder, WHOLE)
    for end in range(len(WHOLE) - 1):
        (folder / "web.yml").write_text(WHOLE[:end])
        with pytest.raises(UsageError, match=r"^--web\.config\.file"):
            web_config.load_anew(folder / "web.yml", before)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "basic_auth_users:\n"])
def test_an_empty_file_where_there_was_one(folder: Path, text: str) -> None:
    for held, named in ((f"basic_auth_users: {{ann: {HASH}}}", "passwords"), (TLS % "", "TLS")):
        before = load(folder, held)
        (folder / "web.yml").write_text(text)
        with pytest.raises(UsageError, match=f"is without {named}, which hold now"):
            web_config.load_anew(folder / "web.yml", before)
    (folder / "web.yml").write_text(text)
    assert not web_config.load_anew(folder / "web.yml", web_config.WebConfig()).users


def test_what_holds_is_told(folder: Path) -> None:
    assert str(web_config.WebConfig()) == "no TLS; no passwords; no headers"
    assert str(load(folder, WHOLE)) == (
        "TLS, client certificates required; passwords of 1 name; headers X-Frame-Options"
    )
