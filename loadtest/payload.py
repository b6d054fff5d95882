"""Classify requests as bytes that are ready to be written, in the three shapes that the API takes."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from loadtest.images import STAMP_BYTES, START_OF_IMAGE, stamp

Shape = Literal["raw", "json", "multipart"]
PATH = "/v1/classify"
BOUNDARY = "quorum-load-0d5f8c1e"
MULTIPART_BEFORE = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\nContent-Type: application/json\r\n\r\n'
    f'{{fields}}\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="image.jpg"\r\n'
    "Content-Type: image/jpeg\r\n\r\n"
)
MULTIPART_AFTER = f"\r\n--{BOUNDARY}--\r\n"
LABELS = ("apple", "milk carton", "T-shirt", "shoe", "dress", "pepper", "juice", "hat", "banana", "trousers")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every image. `labels` stay the same, so their matrix is encoded once."""

    labels: tuple[str, ...] = LABELS
    policy: str | None = None
    backbones: tuple[str, ...] = ()
    min_confidence: float | None = None

    def fields(self) -> dict[str, Any]:
        """The request's fields, without those that are left to the server's defaults."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}


class ClassifyRequests:
    """Endless requests over `jpegs`, one image each, as parts to be written one after the other.

    Every image goes out under a number of its own, so the embedding cache never knows it; with `repeat` the same few
    bytes come round again and again, and the cache answers from the second round on.
    """

    def __init__(
        self,
        jpegs: Sequence[bytes],
        question: Question,
        host: str,
        shape: Shape = "raw",
        *,
        repeat: bool = False,
        lines: str = "",
    ) -> None:
        """`lines` are further header lines, each with its line end."""
        self._salt = secrets.token_hex(2)
        self._encode = base64.b64encode if shape == "json" else bytes
        self._frames = [_frame(jpeg, question, host, shape, lines) for jpeg in jpegs]
        self._period = len(jpegs) if repeat else 10**8
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        return self

    def __next__(self) -> Sequence[bytes]:
        return self.parts(next(self._numbers))

    def parts(self, number: int) -> Sequence[bytes]:
        """Request `number`: head and what precedes the image, the image's stamp, the rest."""
        before, after = self._frames[number % len(self._frames)]
        return before, self._encode(stamp(number % self._period, self._salt)), after


def _frame(jpeg: bytes, question: Question, host: str, shape: Shape, lines: str) -> tuple[bytes, bytes]:
    """The bytes before and after the 18-byte stamp of one image (24 characters in base64)."""
    fields, rest, stamp_bytes = json.dumps(question.fields()), jpeg[len(START_OF_IMAGE) :], STAMP_BYTES
    target, before, after = PATH, b"", b""
    if shape == "raw":
        content_type = "image/jpeg"
        target += "?" + urlencode(question.fields(), doseq=True)
    elif shape == "json":
        content_type, stamp_bytes, rest = "application/json", STAMP_BYTES // 3 * 4, base64.b64encode(rest)
        before, after = b'{"images": [{"data": "', f'"}}], {fields[1:]}'.encode()
    else:
        content_type = f"multipart/form-data; boundary={BOUNDARY}"
        before, after = MULTIPART_BEFORE.format(fields=fields).encode(), MULTIPART_AFTER.encode()
    length = len(before) + stamp_bytes + len(rest) + len(after)
    head = f"POST {target} HTTP/1.1\r\nHost: {host}\r\n{lines}Content-Type: {content_type}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode() + before, rest + after


def get(target: str, host: str, lines: str = "") -> Sequence[bytes]:
    """A GET without a body; `lines` as above."""
    return (f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode(),)
