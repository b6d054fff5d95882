"""What `POST /v1/classify` refuses, and what it says then."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, checked, classify, classify_call, error_of, probabilities
from tests.support.images import as_base64, encoded, jpeg, photograph, png_header_of

NOT_IMAGES: list[tuple[str, bytes | str, int, str]] = [
    ("truncated", jpeg()[:600], 400, "invalid_image"),
    ("header alone", jpeg()[:2], 400, "invalid_image"),
    ("empty", b"", 400, "invalid_image"),
    ("text", b"this is not an image", 400, "invalid_image"),
    ("html", b"<html><body>404 Not Found</body></html>", 400, "invalid_image"),
    ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', 400, "invalid_image"),
    ("tiff", b"II*\0" + struct.pack("<I", 8) + bytes(64), 400, "invalid_image"),
    ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "invalid_image"),
    ("huge by its header", png_header_of(50_000, 50_000), 413, "image_too_large"),
    ("a line of pixels", png_header_of(40_000_000, 1), 413, "image_too_large"),
    ("no pixels", png_header_of(0, 0), 400, "invalid_image"),
    ("no palette", encoded(photograph().convert("P"), "PNG").replace(b"PLTE", b"plTE"), 400, "invalid_image"),
    ("no base64", "!!!!", 400, "invalid_image"),
    ("half a base64", as_base64(jpeg())[:-3], 400, "invalid_image"),
    ("letters outside base64", "абвг", 400, "invalid_image"),
    ("data URI without base64", "data:image/jpeg,abc", 400, "invalid_image"),
    ("data URI without data", "data:image/jpeg;base64", 400, "invalid_image"),
    ("empty data URI", "data:image/jpeg;base64,", 400, "invalid_image"),
    ("URL", "http://127.0.0.1:9/cat.jpg", 400, "invalid_image"),
    ("secure URL", "https://example.org/cat.jpg", 400, "invalid_image"),
    ("file URL", f"file://{Path(__file__)}", 400, "invalid_image"),
    ("path", str(Path(__file__)), 400, "invalid_image"),
    ("path of letters", "etc/passwd", 400, "invalid_image"),
]


@pytest.mark.parametrize(
    ("bad", "status", "code"), [case[1:] for case in NOT_IMAGES], ids=[case[0] for case in NOT_IMAGES]
)
async def test_broken_image_does_not_fail_its_neighbours(
    client: httpx2.AsyncClient, bad: bytes | str, status: int, code: str
) -> None:
    alone = [(await classify(client, jpeg(seed=seed)))["results"][0] for seed in (1, 2)]
    answer = await classify(client, jpeg(seed=1), bad, jpeg(seed=2))
    before, broken, after = answer["results"]
    assert probabilities(before) == probabilities(alone[0])
    assert probabilities(after) == probabilities(alone[1])
    assert set(broken) == {"index", "error"}
    assert (broken["index"], checked(broken["error"], code)["param"]) == (1, "images[1]")
    assert answer["usage"]["images"] == 3
    assert answer["usage"]["gflops_full"] == pytest.approx(2 * 1.75)
    # Alone, the image's error is the call's.
    response = await client.post("/v1/classify", json=classify_call(bad))
    assert error_of(response, status, code)["param"] == "images[0]"


async def test_only_broken_images_are_only_item_errors(client: httpx2.AsyncClient) -> None:
    answer = await classify(client, b"", "!", png_header_of(50_000, 50_000))
    codes = [result["error"]["code"] for result in answer["results"]]
    assert codes == ["invalid_image", "invalid_image", "image_too_large"]
    assert answer["usage"] == {"images": 3, "backbone_calls": {}, "gflops": 0.0, "gflops_full": 0.0}


async def test_nothing_in_a_request_is_opened_or_fetched(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    picture = tmp_path / "cat.jpg"
    picture.write_bytes(jpeg())
    opened: list[object] = []

    def remember(file: object, *_: object, **__: object) -> None:
        opened.append(file)
        raise PermissionError

    monkeypatch.setattr("builtins.open", remember)
    monkeypatch.setattr(io, "open", remember)
    monkeypatch.setattr("socket.create_connection", remember)
    monkeypatch.setattr("socket.getaddrinfo", remember)
    for text in (str(picture), f"file://{picture}", "http://localhost/cat.jpg", as_base64(str(picture).encode())):
        response = await client.post("/v1/classify", json=classify_call(text))
        assert response.status_code == 400
    monkeypatch.undo()
    assert opened == []


FIELD_ERRORS: list[tuple[str, dict[str, Any], int, str, str | None]] = [
    ("10,000 labels", {"labels": [f"l{index}" for index in range(10_000)]}, 422, "invalid_labels", "labels"),
    ("no labels", {"labels": []}, 422, "invalid_labels", "labels"),
    ("an empty label", {"labels": ["cat", "  "]}, 422, "invalid_labels", "labels[1]"),
    ("a label twice", {"labels": ["cat", "dog", " cat"]}, 422, "invalid_labels", "labels[2]"),
    ("a label too long", {"labels": ["x" * 301]}, 422, "invalid_labels", "labels[0]"),
    ("a label that is none", {"labels": ["cat", 1]}, 422, "invalid_request", "labels[1]"),
    ("labels as text", {"labels": "cat,dog"}, 422, "invalid_request", "labels"),
    ("a template without a place", {"templates": ["a photo"]}, 422, "invalid_labels", "templates[0]"),
    ("no templates", {"templates": []}, 422, "invalid_labels", "templates"),
    (
        "too many prompts",
        {"templates": [f"{{}} {index}" for index in range(9_999)]},
        422,
        "invalid_labels",
        "templates",
    ),
    ("neither labels nor a set", {"labels": None}, 422, "invalid_request", None),
    ("labels and a set", {"labels": LABELS, "label_set": "pets"}, 422, "invalid_request", None),
    ("a set with templates", {"label_set": "pets", "templates": ["{}"]}, 422, "invalid_request", None),
    ("an unknown set", {"label_set": "pets"}, 404, "not_found", "label_set"),
    ("a set by a strange name", {"label_set": "../\0" * 9}, 404, "not_found", "label_set"),
    ("an unknown backbone", {"backbones": ["huge"]}, 422, "unknown_backbone", "backbones"),
    ("no backbones", {"backbones": []}, 422, "invalid_request", "backbones"),
    ("a backbone twice", {"backbones": ["small", "small"]}, 422, "invalid_request", "backbones"),
    ("single with two", {"policy": "single", "backbones": ["small", "large"]}, 422, "invalid_request", None),
    ("single with none", {"policy": "single"}, 422, "invalid_request", None),
    ("an unknown policy", {"policy": "oracle"}, 422, "invalid_request", "policy"),
    ("no answers wanted", {"top_k": 0}, 422, "invalid_request", "top_k"),
    ("a deadline too long", {"deadline_ms": 60_001}, 422, "invalid_request", "deadline_ms"),
    ("a deadline beyond numbers", {"deadline_ms": 10**4000}, 422, "invalid_request", "deadline_ms"),
    ("a deadline in the past", {"deadline_ms": 0}, 422, "invalid_request", "deadline_ms"),
    ("an unknown field", {"top": 5}, 422, "invalid_request", "top"),
    ("a name without end", {"x" * 100_000: 5}, 422, "invalid_request", "x" * 1_000),
    ("no images", {"images": []}, 422, "invalid_request", "images"),
    ("an image by URL field", {"images": [{"data": ""}, {"url": "x"}]}, 422, "invalid_request", "images[1].url"),
    ("an image without data", {"images": [{}]}, 422, "invalid_request", "images[0].data"),
    ("an image as text", {"images": ["abc"]}, 422, "invalid_request", "images[0]"),
]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"), [case[1:] for case in FIELD_ERRORS], ids=[case[0] for case in FIELD_ERRORS]
)
async def test_a_wrong_field_is_named(
    client: httpx2.AsyncClient,
    fake_engine: FakeEngine,
    fields: dict[str, Any],
    status: int,
    code: str,
    param: str | None,
) -> None:
    error = error_of(await client.post("/v1/classify", json=classify_call(jpeg(), **fields)), status, code)
    assert error["param"] == param
    assert len(error["message"]) <= 1_000
    assert fake_engine.calls == [], "refused before any work"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_body"),
        (b"{", 400, "malformed_body"),
        (b'{"labels": ["a"],}', 400, "malformed_body"),
        (b"\xff\xfe{}", 400, "malformed_body"),
        (b"[" * 100_000, 400, "malformed_body"),
        (b'{"labels": ["\\ud800"], "images": []}', 400, "malformed_body"),
        (b'{"top_k": ' + b"9" * 10_000 + b"}", 400, "malformed_body"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"3", 422, "invalid_request"),
        (b'{"top_k": 1e400}', 422, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    client: httpx2.AsyncClient, body: bytes, status: int, code: str
) -> None:
    response = await client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    error_of(response, status, code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/xml", "", "/"])
async def test_another_content_type_is_refused_with_the_ones_that_are_read(
    client: httpx2.AsyncClient, content_type: str
) -> None:
    body = json.dumps(classify_call(jpeg())).encode()
    response = await client.post("/v1/classify", content=body, headers={"content-type": content_type})
    assert "multipart/form-data" in error_of(response, 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("labels=cat&colour=red", "colour"), ("labels=cat&top_k=many", "top_k"), ("labels=cat&images=x", "images")],
)
async def test_a_wrong_query_parameter_is_named(client: httpx2.AsyncClient, query: str, param: str) -> None:
    headers = {"content-type": "image/jpeg"}
    response = await client.post(f"/v1/classify?{query}", content=jpeg(), headers=headers)
    assert error_of(response, 422, "invalid_request")["param"] == param


async def test_an_image_of_too_many_bytes_is_its_own_error(make_app: MakeApp, serve: Serve) -> None:
    image = jpeg()
    async with serve(make_app(max_image_bytes=len(image))) as client:
        answer = await classify(client, image, image + b"\0")
    fitting, larger = answer["results"]
    assert "predictions" in fitting
    assert checked(larger["error"], "image_too_large")["param"] == "images[1]"


async def test_an_error_of_many_items_names_the_first_and_stays_small(client: httpx2.AsyncClient) -> None:
    # pydantic would collect a million errors, in 2 GB and half a minute, before one of them is told.
    body = b'{"labels": [' + b"1," * 1_000_000 + b"1]}"
    response = await client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert error_of(response, 422, "invalid_request")["param"] == "labels[0]"
    assert len(response.content) < 500


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/label-sets/pets", "/zero-shot-image-classification"])
async def test_json_of_too_many_values_is_not_parsed(client: httpx2.AsyncClient, path: str) -> None:
    # Thirty million small values in 32 MB would hold up every other caller for seconds.
    body = b'{"labels": [' + b"1," * 1_000_001 + b"1]}"
    method = "PUT" if "label-sets" in path else "POST"
    response = await client.request(method, path, content=body, headers={"content-type": "application/json"})
    error_of(response, 413, "payload_too_large")


async def test_base64_is_refused_whole_and_not_up_to_its_first_error(client: httpx2.AsyncClient) -> None:
    text = base64.b64encode(jpeg()).decode()
    error_of(await client.post("/v1/classify", json=classify_call(f"{text}!{text}")), 400, "invalid_image")
