"""Whatever is sent: an answer or a refusal, soon, in little memory, and the next caller notices nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from service.errors import RequestError
from service.model_config import Preprocessing, ResizeMode
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import preprocess
from tests.support.api import LABELS, classify, classify_call, probabilities
from tests.support.hostile import BOMBS
from tests.support.images import as_base64, encoded, jpeg, photograph

ROOT = Path(__file__).parents[2]
JSON = {"content-type": "application/json"}
LIMITS = ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20)
GEOMETRIES = [Preprocessing(32, mode, "bicubic", (0.5,) * 3, (0.5,) * 3) for mode in get_args(ResizeMode)]
SMALL = photograph(24, 16)
PALETTE = SMALL.convert("P", palette=Image.Palette.ADAPTIVE)
EXIF = Image.Exif()
EXIF.update({0x0112: 6, 0x010E: "a description", 0x8825: {1: "N", 2: (1.0, 2.0, 3.0)}})
SEEDS = [
    encoded(SMALL, "JPEG", exif=EXIF, comment="hello"),
    encoded(SMALL, "JPEG", progressive=True),
    encoded(SMALL.convert("CMYK"), "JPEG"),
    encoded(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    encoded(SMALL, "PNG", exif=EXIF),
    encoded(PALETTE, "PNG", transparency=bytes(range(200))),
    encoded(SMALL.convert("I;16"), "PNG"),
    encoded(SMALL, "PNG", save_all=True, append_images=[SMALL.rotate(9)]),
    encoded(SMALL, "WEBP", exif=EXIF),
    encoded(SMALL.convert("RGBA"), "WEBP", lossless=True),
    encoded(SMALL, "WEBP", save_all=True, append_images=[SMALL.rotate(9)]),
    encoded(PALETTE, "GIF", transparency=3, comment=b"hello"),
    encoded(SMALL, "BMP"),
    encoded(PALETTE, "BMP"),
]
BOMB_LIMIT_MB = 50.0
BOMB_LIMIT_S = 3.0
ALL_BOMBS_LIMIT_S = 30.0
# The peak is read from /proc: getrusage's includes what the process that started this one had in memory.
BOMB = """
import re, sys, time
from pathlib import Path
from service.errors import QuorumError
from service.pipeline.inputs.decode import ImageLimits, decode
from service.model_config import Preprocessing
from service.pipeline.inputs.preprocess import preprocess
data = sys.stdin.buffer.read()
def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
decode(bytes.fromhex(sys.argv[1]), ImageLimits(1 << 24, 1 << 20), 64)  # whatever the first image brings into memory
before, started_s = peak_kb(), time.process_time()
try:
    picture = decode(data, ImageLimits(1 << 24, 50_000_000), 64)
    preprocess(picture, Preprocessing(64, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3))
except QuorumError:
    pass
print((peak_kb() - before) / 1024, time.process_time() - started_s)
"""


def examples(count: int) -> settings:
    """The same ones in every run; fixtures are shared by all of them on purpose: a server lives on, too."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small image file with bytes changed, cut out, put in, repeated, or missing at its end."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        # Headers are where it hurts, so half of the damage is done there.
        at = draw(st.integers(0, min(len(data), 100)) | st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "put", "repeat", "end"])):
            case "change":
                data[at : at + 1] = draw(st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01"]) | st.binary())
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "put":
                data[at:at] = draw(st.binary(max_size=32))
            case "repeat":
                data[at:at] = data[at : at + 64] * draw(st.integers(1, 20))
            case "end":
                del data[at:]
    return bytes(data)


@examples(1_000)
@given(damaged())
def test_a_damaged_image_is_a_picture_or_a_refusal_and_never_a_warning(data: bytes) -> None:
    # Warnings are errors here: Pillow's would reach the log of a server, once per image that somebody made for it.
    try:
        picture = decode(data, LIMITS, target_size=32)
    except RequestError:
        return
    assert picture.mode == "RGB"
    assert [preprocess(picture, geometry).shape for geometry in GEOMETRIES] == [(32, 32, 3)] * 2


@examples(30)
@given(st.lists(damaged(), min_size=1, max_size=12))
async def test_damaged_images_do_not_change_a_good_ones_answer(client: httpx2.AsyncClient, bad: list[bytes]) -> None:
    first, *_, last = (await classify(client, jpeg(), *bad, jpeg()))["results"]
    assert probabilities(first) == probabilities(last)
    alone = (await classify(client, jpeg()))["results"][0]
    assert probabilities(first) == probabilities(alone)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    bomb = BOMBS[name]()
    assert len(bomb) < 2_000_000
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BOMB, jpeg().hex()],
        input=bomb,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    grown_mb, seconds = map(float, done.stdout.split())
    assert grown_mb < BOMB_LIMIT_MB
    assert seconds < BOMB_LIMIT_S


async def test_after_every_bomb_the_next_caller_is_answered(client: httpx2.AsyncClient) -> None:
    # One truncated JPEG hangs a peer for good, while its health stays green.
    expected = (await classify(client, jpeg()))["results"][0]
    started_s = time.monotonic()
    for name, make in BOMBS.items():
        for image in (make(), jpeg()[:700]):
            call = classify_call(image, deadline_ms=60_000)
            response = await client.post("/v1/classify", json=call)
            assert response.status_code in (200, 400, 413), (name, response.text)
    assert time.monotonic() - started_s < ALL_BOMBS_LIMIT_S
    assert probabilities((await classify(client, jpeg()))["results"][0]) == probabilities(expected)
    assert (await client.get("/healthz")).status_code == 200


TEXT = st.text(max_size=8) | st.sampled_from([*LABELS, "{}", "", " ", "small", "mean", "single", "\0", "\ud800", "é"])
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
IMAGE = st.sampled_from([as_base64(jpeg()), "", "!"]) | TEXT
FIELDS = {
    "images": st.lists(st.fixed_dictionaries({"data": IMAGE}), max_size=3),
    "labels": st.lists(TEXT, max_size=4),
    "label_set": TEXT,
    "templates": st.lists(TEXT, max_size=2),
    "policy": st.sampled_from(["single", "mean", "mean_logit", "nlc"]),
    "backbones": st.lists(st.sampled_from(["small", "large", "none"]), max_size=3),
    "top_k": st.integers(-1, 9),
    "deadline_ms": st.integers(-1, 70_000),
    "explain": st.booleans(),
    "inputs": IMAGE,
    "parameters": st.fixed_dictionaries({"candidate_labels": TEXT | st.lists(TEXT, max_size=4)}),
}
BODIES = st.fixed_dictionaries({}, optional={name: field | VALUE for name, field in FIELDS.items()}) | VALUE


@examples(300)
@given(BODIES, st.sampled_from(["/v1/classify", "/zero-shot-image-classification", "/v1/label-sets/pets"]))
async def test_no_json_is_a_failure_of_ours(client: httpx2.AsyncClient, body: object, path: str) -> None:
    method = "PUT" if "label-sets" in path else "POST"
    response = await client.request(method, path, content=json.dumps(body), headers=JSON)
    assert response.status_code < 500 or response.json()["error"]["code"] == "deadline_exceeded", response.text
    assert response.status_code < 300 or set(response.json()) == {"error"}


@examples(300)
@given(st.binary(max_size=200), st.sampled_from(["application/json", "multipart/form-data; boundary=x", "image/png"]))
async def test_no_bytes_are_a_failure_of_ours(client: httpx2.AsyncClient, body: bytes, content_type: str) -> None:
    framed = b"--x\r\nContent-Disposition: form-data; name=images; filename=a\r\n" + body + b"\r\n--x--\r\n"
    for content in (body, framed):
        headers = {"content-type": content_type}
        response = await client.post("/v1/classify?labels=cat", content=content, headers=headers)
        assert 400 <= response.status_code < 500, response.text
