"""Calls of the embeddings API, and the plain way to what it has to answer."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from service.api.services import Services
from service.deadline import Deadline
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Backbone
from tests.support.images import as_base64

Floats = NDArray[np.float32]
URL = "/v1/embeddings"


def data_uri(image: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{as_base64(image)}"


async def embed(client: httpx2.AsyncClient, given: Any, model: str = "committee", **fields: Any) -> dict[str, Any]:
    """The answer to an embeddings call that has to succeed."""
    response = await client.post(URL, json={"model": model, "input": given, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def vectors(client: httpx2.AsyncClient, given: Any, model: str = "committee", **fields: Any) -> Floats:
    """`float32[n, d]`"""
    return rows_of(await embed(client, given, model, **fields))


def rows_of(answer: dict[str, Any]) -> Floats:
    return np.stack([_row(each["embedding"]) for each in answer["data"]])


def _row(embedding: list[float] | str) -> Floats:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.array(embedding, dtype=np.float32)


async def plain_embedding(services: Services, backbone: Backbone, given: str | bytes) -> Floats:
    """`float32[d]`, worked out next to the pipeline: no cache, no batch, no threads."""
    if isinstance(given, str):
        (row,), tower = TextTokenizer(backbone.text)([given]), backbone.text.name
    else:
        picture = decode(given, ImageLimits(1 << 20, 1 << 20), services.zoo.largest_image_size)
        row, tower = preprocess(picture, backbone.preprocessing), backbone.image.name
    (outcome,) = await services.engine.embed(tower, [row], Deadline.after(30.0))
    assert isinstance(outcome, np.ndarray), outcome
    return outcome
