"""The ways in which images and fields arrive at `POST /v1/classify`: all of them mean the same."""

from __future__ import annotations

import base64
import json
import tempfile
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeApp, Serve
from tests.support.api import LABELS, classify, classify_call, error_of, probabilities
from tests.support.images import as_base64, jpeg, photograph
from tests.support.images import encoded as encode_image

Part = tuple[str, tuple[str | None, Any, str] | tuple[str | None, Any]]

FIELDS: dict[str, Any] = {
    "labels": LABELS,
    "templates": ["{}, seen."],
    "top_k": 2,
    "policy": "mean_logit",
    "explain": False,
}
QUERY: dict[str, Any] = {**FIELDS, "explain": "false"}


def files(*images: bytes) -> list[Part]:
    return [("images", (f"{index}.jpg", image, "image/jpeg")) for index, image in enumerate(images)]


def request_part(fields: dict[str, Any]) -> Part:
    return ("request", (None, json.dumps(fields)))


async def results_of(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [{**result, "gflops": None} for result in response.json()["results"]]


@pytest.fixture
async def expected(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    response = await client.post("/v1/classify", json=classify_call(jpeg(seed=1), jpeg(seed=2), **FIELDS))
    return await results_of(response)


@pytest.mark.parametrize("head", ["data:image/jpeg;base64,", "data:;base64,", "data:image/png;charset=x;base64,"])
async def test_a_data_uri_is_read_whatever_type_it_names(
    client: httpx2.AsyncClient, expected: list[dict[str, Any]], head: str
) -> None:
    uris = [head + as_base64(jpeg(seed=seed)) for seed in (1, 2)]
    assert await results_of(await client.post("/v1/classify", json=classify_call(*uris, **FIELDS))) == expected


async def test_base64_may_have_the_line_breaks_of_the_command_that_made_it(
    client: httpx2.AsyncClient, expected: list[dict[str, Any]]
) -> None:
    wrapped = [base64.encodebytes(jpeg(seed=seed)).decode() for seed in (1, 2)]
    assert wrapped[0].count("\n") > 2
    assert await results_of(await client.post("/v1/classify", json=classify_call(*wrapped, **FIELDS))) == expected


async def test_several_files_and_the_fields_as_one_part(
    client: httpx2.AsyncClient, expected: list[dict[str, Any]]
) -> None:
    parts = [*files(jpeg(seed=1), jpeg(seed=2)), request_part(FIELDS)]
    assert await results_of(await client.post("/v1/classify", files=parts)) == expected


@pytest.mark.parametrize("name", ["request.json", ""])
async def test_the_fields_may_be_a_file(client: httpx2.AsyncClient, expected: list[dict[str, Any]], name: str) -> None:
    parts = [("request", (name, json.dumps(FIELDS).encode(), "application/json")), *files(jpeg(seed=1), jpeg(seed=2))]
    assert await results_of(await client.post("/v1/classify", files=parts)) == expected


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/other", "application/octet-stream", "Image/JPEG; q=1"])
async def test_raw_bytes_take_the_fields_from_the_query(
    client: httpx2.AsyncClient, expected: list[dict[str, Any]], content_type: str
) -> None:
    headers = {"content-type": content_type}
    response = await client.post("/v1/classify", params=QUERY, content=jpeg(seed=1), headers=headers)
    assert await results_of(response) == expected[:1]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
async def test_every_format_is_answered(client: httpx2.AsyncClient, image_format: str) -> None:
    (result,) = (await classify(client, encode_image(photograph(), image_format)))["results"]
    assert set(probabilities(result)) == set(LABELS)


async def test_images_without_filenames_are_not_silently_dropped(client: httpx2.AsyncClient) -> None:
    parts: list[Part] = [
        ("request", ("r.json", json.dumps({"labels": LABELS}).encode(), "application/json")),
        *files(jpeg()),
        ("images", (None, b"no file")),
    ]
    error = error_of(await client.post("/v1/classify", files=parts), 422, "invalid_request")
    assert error["param"] == "images"


async def test_two_parts_of_fields_are_not_silently_merged(client: httpx2.AsyncClient) -> None:
    part = ("request", ("r.json", json.dumps({"labels": LABELS}).encode(), "application/json"))
    error = error_of(await client.post("/v1/classify", files=[part, part, *files(jpeg())]), 422, "invalid_request")
    assert error["param"] == "request"


async def test_a_part_of_another_name_is_refused(client: httpx2.AsyncClient) -> None:
    parts = [*files(jpeg()), request_part(FIELDS), ("labels", ("x", b"cat"))]
    error = error_of(await client.post("/v1/classify", files=parts), 422, "invalid_request")
    assert error["param"] == "labels"


async def test_files_without_fields_lack_their_labels(client: httpx2.AsyncClient) -> None:
    error = error_of(await client.post("/v1/classify", files=files(jpeg())), 422, "invalid_request")
    assert "labels and label_set" in error["message"]


@pytest.mark.parametrize("charset", ["utf-16", "unicode_escape", "undefined", "idna", "zlib_codec", "punycode", "\xff"])
async def test_a_callers_charset_breaks_nothing(client: httpx2.AsyncClient, charset: str) -> None:
    for content in (b'{"labels": ["\\ud800"]}', b"\xff\xfe\x00", b'{"labels": ["cat", "dog"]}'):
        body = b"--x\r\nContent-Disposition: form-data; name=request\r\n\r\n" + content + b"\r\n"
        body += b"--x\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\n" + jpeg() + b"\r\n--x--\r\n"
        content_type = f"multipart/form-data; boundary=x; charset={charset}".encode("latin-1")
        response = await client.post("/v1/classify", content=body, headers={b"content-type": content_type})
        assert response.status_code in (200, 400, 422), response.text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=", b"----"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"no part at all"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=images; filename=a\r\n\r\ncut",
        ),
        ("multipart/form-data; boundary=" + "x" * 10_000, b"--x\r\n"),
    ],
)
async def test_a_multipart_body_that_is_none_is_refused(
    client: httpx2.AsyncClient, content_type: str, body: bytes
) -> None:
    response = await client.post("/v1/classify", content=body, headers={"content-type": content_type})
    assert response.status_code in (400, 422), response.text


async def test_a_body_that_was_cut_off_is_not_answered_in_part(client: httpx2.AsyncClient) -> None:
    request = client.build_request("POST", "/v1/classify", files=[*files(jpeg(), jpeg()), request_part(FIELDS)])
    whole = await request.aread()
    for end in (whole.rfind(b"--"), whole.rfind(b"--", 0, -10), len(whole) // 2):
        response = await client.post("/v1/classify", content=whole[:end], headers=request.headers)
        error_of(response, 400, "malformed_body")


async def test_files_never_reach_the_disk(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_disk(*_: object, **__: object) -> None:
        raise AssertionError("an image was about to be written to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", on_disk)
    monkeypatch.setattr(tempfile, "TemporaryFile", on_disk)
    large = encode_image(photograph(800, 800), "BMP")
    assert len(large) > 1_500_000
    parts = [*files(large, large), request_part({"labels": LABELS})]
    assert len(await results_of(await client.post("/v1/classify", files=parts))) == 2


@pytest.mark.parametrize("count", [3, 4, 9])
async def test_too_many_images_are_refused_in_json_and_in_files(make_app: MakeApp, serve: Serve, count: int) -> None:
    images = [jpeg()] * count
    async with serve(make_app(max_images=2)) as client:
        answers = [
            await client.post("/v1/classify", json=classify_call(*images)),
            await client.post("/v1/classify", files=[*files(*images), request_part({"labels": LABELS})]),
        ]
    for answer in answers:
        assert error_of(answer, 413, "payload_too_large")["param"] == "images"


async def test_base64_of_the_url_alphabet_is_refused_and_not_misread(client: httpx2.AsyncClient) -> None:
    text = base64.urlsafe_b64encode(bytes(range(256))).decode()
    error_of(await client.post("/v1/classify", json=classify_call(text)), 400, "invalid_image")
