"""HTTP on a connection, with a bound on what stands around a body. Nobody was asked for a key when that is read."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_AROUND_BYTES: Final = 256 << 10
"""Of a request's line and headers together, and of the trailers after a body in chunks. Proxies allow 8 to 64 KiB, but
a call with raw image bytes has its labels in its address."""


class BoundedHttp(HttpToolsProtocol):
    """The parser keeps a header of any length until it ends: one caller could use up all memory."""

    _pending_bytes = 0
    """That came since the parser last had a piece of a request ready."""

    def data_received(self, data: bytes) -> None:
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > MAX_AROUND_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's headers are too large.")

    def on_headers_complete(self) -> None:
        self._pending_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending_bytes = 0
        super().on_message_complete()
