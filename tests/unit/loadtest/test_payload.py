"""Each shape arrives as the API's description says."""

from __future__ import annotations

import base64
import email
import io
import json
from email.message import Message
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from loadtest.connection import Pool
from loadtest.images import make_jpegs
from loadtest.payload import ClassifyRequests, Question, Shape
from tests.unit.loadtest.stub import HOST, Asked, Reply, stub_server

QUESTION = Question(labels=("a cat", "dog & bone"), policy="single", backbones=("tiny",), min_confidence=0.5)
JPEGS = make_jpegs([Image.effect_noise((80, 80), 60).convert("RGB")], 2)


async def sent(shape: Shape, count: int = 1, *, repeat: bool = False, question: Question = QUESTION) -> list[Asked]:
    """What the server saw of the first `count` requests."""
    asked: list[Asked] = []

    async def remember(request: Asked) -> Reply:
        asked.append(request)
        return Reply()

    async with stub_server(remember) as port:
        pool = Pool(HOST, port)
        requests = ClassifyRequests(JPEGS, question, f"{HOST}:{port}", shape, repeat=repeat)
        for _ in range(count):
            await pool.request(next(requests), 5.0)
        pool.close()
    return asked


def assert_is_image(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert picture.size == (500, 375)


async def test_raw_bytes_carry_the_question_in_the_query() -> None:
    (asked,) = await sent("raw")
    target = urlsplit(asked.target)
    assert target.path == "/v1/classify"
    assert parse_qs(target.query) == {
        "labels": ["a cat", "dog & bone"],
        "policy": ["single"],
        "backbones": ["tiny"],
        "min_confidence": ["0.5"],
    }
    assert asked.headers["content-type"] == "image/jpeg"
    assert_is_image(asked.body)


async def test_json_carries_the_image_in_base64() -> None:
    (asked,) = await sent("json")
    body = json.loads(asked.body)
    assert_is_image(base64.b64decode(body.pop("images")[0]["data"], validate=True))
    assert body == {
        "labels": ["a cat", "dog & bone"],
        "policy": "single",
        "backbones": ["tiny"],
        "min_confidence": 0.5,
    }


async def test_multipart_carries_the_image_as_a_file_beside_the_request() -> None:
    (asked,) = await sent("multipart")
    message = email.message_from_bytes(f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode() + asked.body)
    request, image = cast(list[Message], message.get_payload())
    assert request.get_param("name", header="content-disposition") == "request"
    assert json.loads(cast(bytes, request.get_payload(decode=True)))["policy"] == "single"
    assert image.get_param("name", header="content-disposition") == "images"
    assert image.get_filename() == "image.jpg"


async def test_what_is_not_asked_is_left_to_the_servers_defaults() -> None:
    (asked,) = await sent("json", question=Question(labels=("a", "b")))
    assert set(json.loads(asked.body)) == {"images", "labels"}


@pytest.mark.parametrize("shape", ["raw", "json", "multipart"])
async def test_every_request_has_bytes_of_its_own(shape: Shape) -> None:
    bodies = [asked.body for asked in await sent(shape, 6)]
    assert len(set(bodies)) == 6


async def test_repeated_requests_come_round_again() -> None:
    bodies = [asked.body for asked in await sent("raw", 6, repeat=True)]
    assert bodies[:2] == bodies[2:4] == bodies[4:]
    assert len(set(bodies)) == 2
