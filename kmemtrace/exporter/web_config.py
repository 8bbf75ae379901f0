"""Reads --web.config.file: TLS, client certificates and basic authentication.

Its format is that of Prometheus's exporter toolkit
(https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kmemtrace.errors import UsageError
from kmemtrace.exporter import tls
from kmemtrace.exporter.admission import Users
from kmemtrace.exporter.config_table import Table, WrongValueError

OPTION = "--web.config.file"
_SECTIONS = frozenset(("tls_server_config", "http_server_config", "basic_auth_users"))
_HEADERS = frozenset((
    "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection",
    "Strict-Transport-Security",
))  # fmt: skip
_HASH = re.compile(r"\$2[abxy]?\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
"""A whole hash: bcrypt's library takes one that was cut off for a hash that no password has."""


@dataclass(frozen=True, slots=True)
class WebConfig:
    tls: ssl.SSLContext | None = None
    users: Users = field(default_factory=lambda: Users({}))
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def asks_certificates(self) -> ssl.VerifyMode:
        return ssl.CERT_NONE if self.tls is None else self.tls.verify_mode

    def __str__(self) -> str:
        """Returns what holds, in a few words."""
        certificates = {
            ssl.CERT_NONE: "no client certificates",
            ssl.CERT_OPTIONAL: "client certificates verified where they are given",
            ssl.CERT_REQUIRED: "client certificates required",
        }
        told = ["no TLS" if self.tls is None else f"TLS, {certificates[self.asks_certificates]}"]
        names = "1 name" if len(self.users) == 1 else f"{len(self.users)} names"
        told.append(f"passwords of {names}" if self.users else "no passwords")
        told.append(f"headers {', '.join(self.headers)}" if self.headers else "no headers")
        return "; ".join(told)


def load(file: Path | None) -> WebConfig:
    """Reads the configuration; without a file it is empty.

    Raises:
        UsageError: It is wrong; the message names the file, the line, the key, and what is wrong.
    """
    if file is None:
        return WebConfig()
    from kmemtrace.exporter.yaml_table import read  # noqa: PLC0415 a megabyte, and few have such a file

    table = read(file, OPTION)
    try:
        return _config(table, file.parent)
    except (WrongValueError, ValueError, OSError) as error:
        raise UsageError(f"{OPTION} {file}, {error}.") from None


def load_anew(file: Path, before: WebConfig) -> WebConfig:
    """Reads the configuration that is to take the place of `before`.

    One in which a protection is missing altogether is refused: nobody can tell whether that is meant, or the
    file is half written, or was truncated.

    Raises:
        UsageError: It is wrong, or a protection is missing.
    """
    config = load(file)
    missing = [
        name
        for name, gone in (
            ("TLS", before.tls is not None and config.tls is None),
            ("client certificates", config.asks_certificates < before.asks_certificates),
            ("passwords", before.users and not config.users),
            ("headers", before.headers and not config.headers),
        )
        if gone
    ]
    if missing:
        raise UsageError(
            f"{OPTION} {file} is without {', '.join(missing)}, which hold now: it may be half written. To do "
            "without, start the exporter anew."
        )
    return config


def _config(top: Table, folder: Path) -> WebConfig:
    top.only(_SECTIONS)
    http = top.table("http_server_config", {"http2", "headers"})
    headers = http.table("headers", _HEADERS)
    users = top.table("basic_auth_users", None)
    for name, one in users.items():
        if not _HASH.fullmatch(str(one)):
            words = "its password is no bcrypt hash; make one with: htpasswd -nBC 10 '' | tr -d ':\\n'"
            raise users.wrong(name, words)
    has_tls = top.get("tls_server_config") is not None
    return WebConfig(
        tls.context_of(top.table("tls_server_config", tls.KEYS), folder) if has_tls else None,
        Users(users),
        {name: str(value) for name, value in headers.items()},
    )
