"""Requests to the API and the checks that every answer of a kind has to pass."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.support.images import as_base64

LABELS = ["cat", "dog", "teapot"]
ERROR_FIELDS = {"message", "type", "param", "code", "request_id"}
FOREIGN_WORDS = ("Traceback", "pydantic", "PIL.", "sqlite", "onnxruntime", "site-packages", "Error(", "0x")


def classify_call(*images: bytes | str, **fields: Any) -> dict[str, Any]:
    """A classify request in JSON; labels are there unless the fields name others or a label set."""
    data = [{"data": image if isinstance(image, str) else as_base64(image)} for image in images]
    question = {} if fields.keys() & {"labels", "label_set"} else {"labels": LABELS}
    return {"images": data, **question, **fields}


async def classify(client: httpx2.AsyncClient, *images: bytes | str, **fields: Any) -> dict[str, Any]:
    """The answer to a classify request that has to succeed."""
    response = await client.post("/v1/classify", json=classify_call(*images, **fields))
    assert response.status_code == 200, response.text
    return dict(response.json())


async def classify_one(client: httpx2.AsyncClient, image: bytes | str, **fields: Any) -> dict[str, Any]:
    """The result of the only image of a request that has to succeed."""
    (result,) = (await classify(client, image, **fields))["results"]
    return dict(result)


def probabilities(result: dict[str, Any]) -> dict[str, float]:
    return {each["label"]: each["probability"] for each in result["predictions"]}


def error_of(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error of an answer: in the one shape, with nothing foreign in its words."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert response.headers["x-request-id"] == response.json()["error"]["request_id"]
    return checked(response.json()["error"], code)


def checked(error: dict[str, Any], code: str) -> dict[str, Any]:
    assert set(error) == ERROR_FIELDS
    assert error["code"] == code, error
    assert not [word for word in FOREIGN_WORDS if word in error["message"]], error
    return error
