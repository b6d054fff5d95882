"""Calls on a gallery as bytes that are ready to be written."""

from __future__ import annotations

import base64
import itertools
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtest.images import START_OF_IMAGE, stamp
from loadtest.payload import BOUNDARY
from loadtest.scenarios.gallery_data import PERCENT, Floats, Vectors, id_of, text_of

DEADLINE_MS = 60_000
JSON = "application/json"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
FIELDS_PART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="request"\r\nContent-Type: {JSON}\r\n\r\n'
    f'{{"deadline_ms": {DEADLINE_MS}}}\r\n'
).encode()
IMAGE_PART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images[{{name}}]"; filename="{{name}}.jpg"\r\n'
    "Content-Type: image/jpeg\r\n\r\n"
)
FORM_END = f"--{BOUNDARY}--\r\n".encode()

Parts = Sequence[bytes]


def call(method: str, target: str, host: str, body: Any) -> Parts:
    """A call with a body of JSON."""
    return framed(method, target, host, JSON, [json.dumps(body).encode()])


def framed(method: str, target: str, host: str, content_type: str, body: Sequence[bytes]) -> Parts:
    length = sum(map(len, body))
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {host}",
        f"Content-Type: {content_type}",
        f"Content-Length: {length}",
    ]
    return ["\r\n".join([*lines, "", ""]).encode(), *body]


def items_target(gallery: str) -> str:
    return f"/v1/galleries/{gallery}/items"


def encoded(vector: Floats) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def ready_items(vectors: Vectors, gallery: str, host: str, batch: int) -> Iterator[Parts]:
    """Calls that add every item with its embedding, `batch` items each."""
    for start in range(0, len(vectors.items), batch):
        items = [
            {"id": id_of(item), "embedding": encoded(vectors.items[item]), "fields": {PERCENT: item % 100}}
            for item in range(start, min(start + batch, len(vectors.items)))
        ]
        yield call("POST", items_target(gallery), host, {"items": items, "deadline_ms": DEADLINE_MS})


def search(gallery: str, host: str, queries: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> Parts:
    body = {"queries": list(queries), "deadline_ms": DEADLINE_MS, **fields}
    return call("POST", f"/v1/galleries/{gallery}/search", host, body)


def embedding_searches(
    gallery: str, host: str, queries: Floats, per_call: int, fields: Mapping[str, Any]
) -> Iterator[Parts]:
    """Endless searches for ready embeddings, made beforehand and sent in turn: nothing keeps their answers."""
    made = []
    for start in range(0, len(queries) - per_call + 1, per_call):
        asked = [{"embedding": encoded(query)} for query in queries[start : start + per_call]]
        made.append(search(gallery, host, asked, fields))
    return itertools.cycle(made)


def text_searches(
    gallery: str, host: str, numbers: Iterator[int], per_call: int, fields: Mapping[str, Any]
) -> Iterator[Parts]:
    """Endless searches for texts; each of `numbers` is a text of its own."""
    while True:
        asked = [{"text": text_of(number)} for number in itertools.islice(numbers, per_call)]
        yield search(gallery, host, asked, fields)


class Pictures:
    """`jpegs` in batches, each under a number of its own, so that no cache knows it and every id is new."""

    def __init__(self, jpegs: Sequence[bytes], host: str, batch: int) -> None:
        self._rests = [jpeg[len(START_OF_IMAGE) :] for jpeg in jpegs]
        self._host = host
        self._batch = batch
        self._salt = secrets.token_hex(2)
        self._numbers = itertools.count()

    def for_gallery(self, gallery: str) -> Iterator[Parts]:
        """Endless multipart calls that add pictures to a gallery."""
        while True:
            body = [FIELDS_PART]
            for number, rest in self._next_batch():
                body += [IMAGE_PART.format(name=id_of(number)).encode(), stamp(number, self._salt), rest, b"\r\n"]
            yield framed("POST", items_target(gallery), self._host, FORM, [*body, FORM_END])

    def for_embeddings(self) -> Iterator[Parts]:
        """Endless `POST /v1/embeddings` of the whole committee."""
        while True:
            uris = []
            for number, rest in self._next_batch():
                uris.append("data:image/jpeg;base64," + base64.b64encode(stamp(number, self._salt) + rest).decode())
            body = {"model": "committee", "input": uris, "encoding_format": "base64", "deadline_ms": DEADLINE_MS}
            yield call("POST", "/v1/embeddings", self._host, body)

    def _next_batch(self) -> Iterator[tuple[int, bytes]]:
        for number in itertools.islice(self._numbers, self._batch):
            yield number, self._rests[number % len(self._rests)]
