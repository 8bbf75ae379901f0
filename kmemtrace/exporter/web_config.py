"""--web.config.file: TLS, client certificates and basic authentication, in the format of Prometheus's
exporter toolkit (https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md)."""

import hmac
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import bcrypt
import yaml

from kmemtrace.errors import UsageError

_CLIENT_AUTH = {
    "NoClientCert": (ssl.CERT_NONE, False),
    "RequestClientCert": (ssl.CERT_OPTIONAL, True),
    "RequireAnyClientCert": None,
    "VerifyClientCertIfGiven": (ssl.CERT_OPTIONAL, True),
    "RequireAndVerifyClientCert": (ssl.CERT_REQUIRED, True),
}
"""Python verifies every certificate that it asks for, so that one cannot be had without."""
_VERSIONS = {"TLS10": "TLSv1", "TLS11": "TLSv1_1", "TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
_TLS_KEYS = {
    "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences",
}  # fmt: skip
_UNSUPPORTED = {"client_allowed_sans", "curve_preferences"}
_HEADERS = {
    "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection",
    "Strict-Transport-Security",
}  # fmt: skip


class Users:
    """Names and bcrypt hashes."""

    def __init__(self, hashes: Mapping[str, str]) -> None:
        self._hashes = {name: one.encode() for name, one in hashes.items()}
        # An unknown name takes as long as a known one.
        self._nobody = next(iter(self._hashes.values()), b"")
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def admits(self, name: str, password: str) -> bool:
        """Takes some 100 ms the first time: bcrypt is slow on purpose. A pair that was right is
        remembered, as an HMAC under a key of this process."""
        told = hmac.digest(self._key, f"{name}\0{password}".encode(), sha256().name)
        if told in self._right:
            return True
        known = name in self._hashes
        # bcrypt takes 72 bytes at most, and refuses longer ones.
        right = bcrypt.checkpw(password.encode()[:72], self._hashes.get(name, self._nobody))
        if known and right:
            self._right.add(told)
        return known and right


@dataclass(frozen=True, slots=True)
class WebConfig:
    tls: ssl.SSLContext | None = None
    users: Users = field(default_factory=lambda: Users({}))
    headers: Mapping[str, str] = field(default_factory=dict)


def load(file: Path | None) -> WebConfig:
    """Raises UsageError, which names the file and what is wrong with it."""
    if file is None:
        return WebConfig()
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise UsageError(f"--web.config.file cannot be read: {words}") from None
    try:
        return _config({} if document is None else document, file.parent)
    except (ValueError, OSError) as error:
        raise UsageError(f"--web.config.file {file}: {error}") from None


def _config(document: Any, folder: Path) -> WebConfig:
    top = _table(document, "the file", {"tls_server_config", "http_server_config", "basic_auth_users"})
    http = _table(top.get("http_server_config"), "http_server_config", {"http2", "headers"})
    headers = _table(http.get("headers"), "headers", _HEADERS)
    users = _table(top.get("basic_auth_users"), "basic_auth_users", None)
    for name, one in users.items():
        _check_hash(name, one)
    tls = top.get("tls_server_config")
    return WebConfig(
        None if tls is None else _tls(_table(tls, "tls_server_config", _TLS_KEYS), folder),
        Users(users),
        {str(k): str(v) for k, v in headers.items()},
    )


def _table(value: Any, name: str, keys: set[str] | None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a table of names and values")
    for key in value:
        if not isinstance(key, str) or (keys is not None and key not in keys):
            raise ValueError(f"{name} has no key {key!r}")
    return value


def _check_hash(name: str, one: Any) -> None:
    try:
        bcrypt.checkpw(b"", str(one).encode())
    except ValueError:
        raise ValueError(
            f"the password of {name!r} is no bcrypt hash; make one with: htpasswd -nBC 10 '' | tr -d ':\\n'"
        ) from None


def _tls(table: dict[str, Any], folder: Path) -> ssl.SSLContext:
    for key in _UNSUPPORTED & table.keys():
        raise ValueError(f"{key} is not supported; leave it out")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _version(str(table.get("min_version", "TLS12")))
    context.maximum_version = _version(str(table.get("max_version", "TLS13")))
    suites = table.get("cipher_suites") or []
    if not isinstance(suites, list):
        raise ValueError("cipher_suites must be a list")
    if suites:
        _set_ciphers(context, suites)
    for key in ("cert_file", "key_file"):
        if not table.get(key):
            raise ValueError(f"tls_server_config needs {key}")
    try:
        context.load_cert_chain(folder / str(table["cert_file"]), folder / str(table["key_file"]))
    except ssl.SSLError as error:
        raise ValueError(f"cert_file and key_file do not go together: {error.reason}") from None
    _ask_clients(context, table, folder)
    return context


def _ask_clients(context: ssl.SSLContext, table: dict[str, Any], folder: Path) -> None:
    kind = str(table.get("client_auth_type", "NoClientCert"))
    if kind not in _CLIENT_AUTH:
        raise ValueError(f"client_auth_type has no value {kind!r}; it has {', '.join(_CLIENT_AUTH)}")
    found = _CLIENT_AUTH[kind]
    if found is None:
        raise ValueError(f"client_auth_type {kind} is not supported; use RequireAndVerifyClientCert")
    mode, needs_ca = found
    authority = table.get("client_ca_file")
    if needs_ca and not authority:
        raise ValueError(f"client_auth_type {kind} needs client_ca_file")
    if authority:
        if not needs_ca:
            raise ValueError("client_ca_file is there, but client_auth_type lets everybody in")
        context.load_verify_locations(folder / str(authority))
    context.verify_mode = mode


def _version(name: str) -> ssl.TLSVersion:
    if name not in _VERSIONS:
        raise ValueError(f"there is no TLS version {name!r}; there are {', '.join(_VERSIONS)}")
    return ssl.TLSVersion[_VERSIONS[name]]


def _set_ciphers(context: ssl.SSLContext, suites: list[Any]) -> None:
    """Those of TLS 1.3 cannot be chosen, in Go neither."""
    try:
        context.set_ciphers(":".join(_openssl(str(suite)) for suite in suites if "_WITH_" in str(suite)))
    except ssl.SSLError:
        raise ValueError("cipher_suites has no suite that OpenSSL knows") from None


def _openssl(suite: str) -> str:
    """Of TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Go's name, OpenSSL's: ECDHE-RSA-AES128-GCM-SHA256."""
    name = suite.removeprefix("TLS_").replace("_WITH_AES_", "_AES").replace("_WITH_", "_")
    return name.replace("_CBC", "").replace("POLY1305_SHA256", "POLY1305").replace("_", "-")
