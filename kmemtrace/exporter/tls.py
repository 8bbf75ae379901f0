"""Reads tls_server_config of --web.config.file: certificates, and whom they let in."""

import ssl
from pathlib import Path
from typing import Any

from kmemtrace.exporter.config_table import Table

_CLIENT_AUTH = {
    "NoClientCert": (ssl.CERT_NONE, False),
    "RequestClientCert": (ssl.CERT_OPTIONAL, True),
    "RequireAnyClientCert": None,
    "VerifyClientCertIfGiven": (ssl.CERT_OPTIONAL, True),
    "RequireAndVerifyClientCert": (ssl.CERT_REQUIRED, True),
}
"""By Go's name: what Python asks of clients, and whether that takes client_ca_file; None where Python cannot.
Python verifies every certificate that it asks for, so that one cannot be had without."""
_VERSIONS = {"TLS10": "TLSv1", "TLS11": "TLSv1_1", "TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
KEYS = frozenset((
    "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans",
    "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites", "curve_preferences",
))  # fmt: skip
_UNSUPPORTED = ("client_allowed_sans", "curve_preferences")


def context_of(table: Table, folder: Path) -> ssl.SSLContext:
    """Makes the TLS context.

    Args:
        table: The part tls_server_config of the configuration.
        folder: The folder that names of files are relative to.

    Raises:
        WrongValueError: A value is wrong or not supported.
    """
    for key in _UNSUPPORTED:
        if key in table:
            raise table.wrong(key, f"{key} is not supported; leave it out")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _version(table, "min_version", "TLS12")
    context.maximum_version = _version(table, "max_version", "TLS13")
    suites = table.get("cipher_suites") or []
    if not isinstance(suites, list):
        raise table.wrong("cipher_suites", "must be a list")
    if suites:
        _set_ciphers(context, table, suites)
    _load_certificate(context, table, folder)
    _ask_clients(context, table, folder)
    return context


def _load_certificate(context: ssl.SSLContext, table: Table, folder: Path) -> None:
    for key in ("cert_file", "key_file"):
        if not table.get(key):
            raise table.wrong(None, f"needs {key}")
        _check_readable(table, key, folder)
    try:
        context.load_cert_chain(folder / str(table["cert_file"]), folder / str(table["key_file"]))
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise table.wrong("cert_file", f"cert_file and key_file do not go together: {reason}") from None


def _check_readable(table: Table, key: str, folder: Path) -> None:
    file = folder / str(table[key])
    try:
        file.open("rb").close()
    except OSError as error:
        raise table.wrong(key, f"{file}: {error.strerror}") from None


def _ask_clients(context: ssl.SSLContext, table: Table, folder: Path) -> None:
    key = "client_auth_type"
    kind = str(table.get(key, "NoClientCert"))
    if kind not in _CLIENT_AUTH:
        raise table.wrong(key, f"there is no value {kind!r}; there are {', '.join(_CLIENT_AUTH)}")
    found = _CLIENT_AUTH[kind]
    if found is None:
        raise table.wrong(key, f"{kind} is not supported; use RequireAndVerifyClientCert")
    mode, needs_ca = found
    authority = table.get("client_ca_file")
    if needs_ca and not authority:
        raise table.wrong(key, f"{kind} needs client_ca_file")
    if authority:
        if not needs_ca:
            raise table.wrong("client_ca_file", "it is there, but client_auth_type lets everybody in")
        _check_readable(table, "client_ca_file", folder)
        try:
            context.load_verify_locations(folder / str(authority))
        except OSError:
            raise table.wrong("client_ca_file", "has no certificate") from None
    context.verify_mode = mode


def _version(table: Table, key: str, default: str) -> ssl.TLSVersion:
    name = str(table.get(key, default))
    if name not in _VERSIONS:
        raise table.wrong(key, f"there is no TLS version {name!r}; there are {', '.join(_VERSIONS)}")
    return ssl.TLSVersion[_VERSIONS[name]]


def _set_ciphers(context: ssl.SSLContext, table: Table, suites: list[Any]) -> None:
    """Chooses the cipher suites; those of TLS 1.3 cannot be chosen, in Go neither."""
    try:
        context.set_ciphers(":".join(_openssl(str(suite)) for suite in suites if "_WITH_" in str(suite)))
    except ssl.SSLError:
        raise table.wrong("cipher_suites", "there is no suite that OpenSSL knows") from None


def _openssl(suite: str) -> str:
    """Returns OpenSSL's name of a cipher suite.

    For TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Go's name, that is ECDHE-RSA-AES128-GCM-SHA256.
    """
    name = suite.removeprefix("TLS_").replace("_WITH_AES_", "_AES").replace("_WITH_", "_")
    return name.replace("_CBC", "").replace("POLY1305_SHA256", "POLY1305").replace("_", "-")
