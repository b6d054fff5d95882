"""The client's `embed`: what it sends, and what it makes of answers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.client import ApiError, ClientError, Embeddings, UnexpectedResponseError
from tests.support.client import Caller, Server
from tests.support.images import jpeg


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def answer(*embeddings: list[float] | str, **changes: Any) -> httpx2.Response:
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(embeddings)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return httpx2.Response(200, json={"object": "list", "data": data, "model": "small", "usage": usage, **changes})


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


def test_texts_and_images_are_sent_in_their_order(call: Caller, tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.write_bytes(jpeg(seed=1))
    server = Server(answer(packed(1.0)))
    call(server, "embed", ["a cat", file, jpeg(seed=2), "data:image/png;base64,AAAA"], deadline_ms=5_000)
    (request,) = server.requests
    sent = json.loads(request.content)
    text, first, second, uri = sent.pop("input")
    assert sent == {"model": "committee", "encoding_format": "base64", "deadline_ms": 5_000}
    assert (text, uri) == ("a cat", "data:image/png;base64,AAAA")
    for sent_image, image in ((first, jpeg(seed=1)), (second, jpeg(seed=2))):
        head, _, tail = sent_image.partition(",")
        assert head == "data:application/octet-stream;base64"
        assert base64.b64decode(tail) == image
    assert request.extensions["timeout"]["read"] == 10.0


@pytest.mark.parametrize("one", ["a cat", jpeg(seed=2)], ids=["text", "image"])
def test_one_input_needs_no_list(call: Caller, one: str | bytes) -> None:
    server = Server(answer(packed(1.0)))
    call(server, "embed", one)
    (request,) = server.requests
    assert len(json.loads(request.content)["input"]) == 1


def test_the_answer_is_one_array_in_the_inputs_order(call: Caller) -> None:
    data = [{"index": 1, "embedding": packed(0.0, 1.0)}, {"index": 0, "embedding": [1.0, 0.0]}]
    found = call(Server(answer(data=data)), "embed", ["a", "b"], model="small")
    assert isinstance(found, Embeddings)
    assert found.vectors.dtype == np.float32
    assert found.vectors.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert (found.model, found.prompt_tokens) == ("small", 7)
    found.vectors[0, 0] = 2.0  # the caller's own


@pytest.mark.parametrize("odd", [answer(), answer([1.0], [1.0, 0.0]), answer("!"), answer("AAA="), answer(usage=None)])
def test_what_is_no_array_is_said(call: Caller, odd: httpx2.Response) -> None:
    with pytest.raises(UnexpectedResponseError):
        call(Server(odd), "embed", ["a"])


def test_nothing_is_not_sent(call: Caller) -> None:
    server = Server(answer(packed(1.0)))
    with pytest.raises(ValueError, match="give at least one"):
        call(server, "embed", [])
    assert not server.requests


def test_an_error_names_the_input(call: Caller) -> None:
    error = {"message": "No.", "type": "invalid_request_error", "param": "input[1]", "code": "x", "request_id": "r"}
    with pytest.raises(ApiError) as caught:
        call(Server(httpx2.Response(400, json={"error": error})), "embed", ["a", ""])
    assert caught.value.param == "input[1]"


def test_an_embedding_only_reads_and_is_asked_for_again(call: Caller) -> None:
    server = Server(httpx2.ReadError, answer(packed(1.0)))
    assert call(server, "embed", ["a"]).vectors.tolist() == [[1.0]]


def test_a_file_that_is_not_there_is_an_os_error(call: Caller, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing here") as caught:
        call(Server(answer(packed(1.0))), "embed", [tmp_path / "nothing here"])
    assert not isinstance(caught.value, ClientError)
