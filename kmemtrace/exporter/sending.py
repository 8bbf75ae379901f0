"""Sends pages to whoever reads them, and keeps few of them in memory for those who do not."""

from aiohttp import web

from kmemtrace.exporter.listener import Connection
from kmemtrace.exporter.source import Page

TAKE_SECONDS = 30.0
"""Time for a reader to take an answer. Prometheus gives up after 10 s unless told otherwise."""
MOST_BYTES = 64 << 20
"""Most bytes of pages that somebody has not read yet: each reading of the maps makes new ones."""
_PIECE = 64 << 10


class Sending:
    """Keeps the pages that are being sent, oldest first, and to whom."""

    def __init__(self) -> None:
        self._readers: dict[Page, set[Connection]] = {}

    async def send(self, request: web.Request, response: web.StreamResponse, page: Page) -> None:
        """Sends a page.

        Raises:
            ConnectionError: It was not read in time, or the reader is gone.
        """
        reader = request.protocol
        assert isinstance(reader, Connection)
        self._readers.setdefault(page, set()).add(reader)
        self._let_go(page)
        reader.waits(TAKE_SECONDS)
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                # In pieces: what is written is copied to where the connection keeps it.
                for at in range(0, len(page.body), _PIECE):
                    await response.write(memoryview(page.body)[at : at + _PIECE])
            await response.write_eof()
        finally:
            readers = self._readers.get(page, set())
            readers.discard(reader)
            if not readers:
                self._readers.pop(page, None)

    def _let_go(self, newest: Page) -> None:
        """Ends the readers of the oldest pages where all take too much memory."""
        total = sum(len(page.body) for page in self._readers)
        for page in list(self._readers):
            if total <= MOST_BYTES or page is newest:
                return
            total -= len(page.body)
            for reader in self._readers.pop(page):
                reader.end()
