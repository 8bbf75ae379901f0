"""Asks a Prometheus server, or whatever else answers its HTTP API (Thanos, Mimir, VictoriaMetrics)."""

import base64
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from kmemtrace.errors import CannotError, UsageError

_PATIENCE_SECONDS = 30
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
"""Characters that a request cannot have in its URL."""


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    """Name of the metric; empty where the expression has dropped it."""
    labels: dict[str, str]
    value: float


class Prometheus:
    def __init__(self, url: str) -> None:
        """Prepares to ask a server.

        Args:
            url: E.g. http://localhost:9090, or https://user:password@host/prefix.

        Raises:
            UsageError: It is no such URL.
        """
        parts = _parts(url)
        if parts is None:
            raise UsageError(f"{url!r} is no URL of a Prometheus server: write it as http://HOST:9090")
        self.url = _without_password(parts)
        self._headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def query(self, expression: str) -> list[Sample]:
        """Asks for an instant vector, of now.

        Raises:
            CannotError: The server does not answer, or not as Prometheus does.
        """
        try:
            return [
                Sample(one["metric"].pop("__name__", ""), one["metric"], float(one["value"][1]))
                for one in self.ask("query", query=expression)["result"]
            ]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise CannotError(f"{self.url} answers as no Prometheus does.") from None

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Returns the data that the HTTP API answers below /api/v1/.

        Args:
            path: What is asked for, e.g. "query".
            **parameters: The question's parameters.

        Raises:
            CannotError: The server does not answer, or not as Prometheus does.
        """
        # POST, where there are parameters: an expression may be longer than a URL may be.
        data = urllib.parse.urlencode(parameters).encode() if parameters else None
        asked = urllib.request.Request(f"{self.url}/api/v1/{path}", data, self._headers)
        try:
            with urllib.request.urlopen(asked, timeout=_PATIENCE_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise CannotError(f"{self.url} answers {error.code} {error.reason}: {_said(error)}") from None
        except urllib.error.URLError as error:
            raise CannotError(f"{self.url} cannot be reached: {error.reason}.") from None
        except http.client.HTTPException as error:  # its words may be those of whatever answered, raw
            raise CannotError(f"{self.url} answers as no Prometheus does: {error!r}.") from None
        except (OSError, ValueError) as error:
            raise CannotError(f"{self.url} answers as no Prometheus does: {error}.") from None
        except (KeyError, TypeError):
            raise CannotError(f"{self.url} answers as no Prometheus does.") from None


def _parts(url: str) -> urllib.parse.SplitResult | None:
    """Returns the parts of a URL; None where nothing could be asked of such a URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets without an end, a port that is no number
        return None
    return parts if usable and not _UNSENDABLE.search(_without_password(parts)) else None


def _without_password(parts: urllib.parse.SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _said(error: urllib.error.HTTPError) -> str:
    """Returns Prometheus's own word on what was wrong, where there is one."""
    try:
        return str(json.load(error)["error"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return "no reason given"
