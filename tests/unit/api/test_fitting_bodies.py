"""The bodies that teach: both forms of both calls mean the same, and what is wrong is told before a job begins."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from service.jobs import fitting as fitting_jobs
from service.policies import ArtefactKind
from tests.conftest import MakeApp
from tests.support.api import LABELS, error_of
from tests.support.asgi import Caller
from tests.support.fitting import PICTURES, URL, Api, examples_call, images_call, pets_on
from tests.support.images import as_base64, encoded, photograph

Part = tuple[str, tuple[str | None, Any, str] | tuple[str | None, Any]]
BODIES: dict[ArtefactKind, dict[str, Any]] = {
    "controller": examples_call(PICTURES[:2], ["cat", "dog"]),
    "cascade": images_call(PICTURES[:2]),
}
JSON = {"content-type": "application/json"}


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[Api]:
    """With its runner busy, so that no job begins."""
    async with pets_on(make_app(engine=fake_engine, drain_timeout_s=0.01)) as api:
        await api.occupied()
        yield api


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the jobs that are begun were told."""
    calls: list[Any] = []
    for name in ("controller_work", "cascade_work"):
        real = getattr(fitting_jobs, name)

        def noted(gatherer: Any, job: Any, real: Any = real) -> Any:
            calls.append(job)
            return real(gatherer, job)

        monkeypatch.setattr(f"service.api.fitting.{name}", noted)
    return calls


def file(name: str, data: bytes, filename: str = "x.jpg") -> Part:
    return name, (filename, data, "image/jpeg")


def fields(**values: Any) -> Part:
    return "request", (None, json.dumps(values))


async def test_examples_mean_the_same_in_json_and_in_parts(api: Api, understood: list[Any]) -> None:
    images, labels = PICTURES[:3], ["dog", "cat", "dog"]
    await api.fit(images, labels, seed=5)
    parts = [file(f"examples[{label}]", image) for image, label in zip(images, labels, strict=True)]
    response = await api.client.post(f"{URL}/controller", files=[*parts, fields(seed=5)])
    assert response.status_code == 202, response.text
    one, other = understood
    assert one == other
    assert (one.truth, one.seed) == ((1, 0, 1), 5)


async def test_calibration_images_mean_the_same_in_json_and_in_parts(api: Api, understood: list[Any]) -> None:
    images = PICTURES[:3]
    given = {"labels": ["teapot", "cat", "dog"], "epsilon": 0.05, "delta": 0.2}
    await api.calibrate(images, **given)
    parts = [file("images", image) for image in images]
    assert (await api.client.post(f"{URL}/cascade", files=[*parts, fields(**given)])).status_code == 202
    one, other = understood
    assert one == other
    assert (one.truth, one.epsilon, one.delta, one.controller, one.fitted) == ((2, 0, 1), 0.05, 0.2, None, frozenset())


async def test_without_fields_the_defaults_hold(api: Api, understood: list[Any]) -> None:
    assert (await api.client.post(f"{URL}/cascade", files=[file("images", PICTURES[0])])).status_code == 202
    assert (await api.client.post(f"{URL}/controller", files=[file("examples[cat]", PICTURES[0])])).status_code == 202
    cascade, controller = understood
    assert (cascade.truth, cascade.epsilon, cascade.delta, controller.seed) == (None, 0.02, 0.1, 0)


@pytest.mark.parametrize("label", ["a [b] c", "]", "[", "Zürich 🚋", 'quote "', "examples[x]", "a;b=c", "100%22"])
async def test_a_label_may_have_any_characters(api: Api, understood: list[Any], label: str) -> None:
    await api.client.put(URL, json={"labels": ["other", label]})
    await api.fit(PICTURES[:1], [label])
    response = await api.client.post(f"{URL}/controller", files=[file(f"examples[{label}]", PICTURES[0])])
    assert response.status_code == 202, response.text
    assert [job.truth for job in understood] == [(1,), (1,)]


async def test_a_data_uri_is_read_and_what_is_no_image_is_the_jobs_to_tell(api: Api, understood: list[Any]) -> None:
    await api.calibrate([f"data:image/jpeg;base64,{as_base64(PICTURES[0])}", "http://example.com/x.jpg", "?!"])
    first, *unread = understood[0].images
    assert first.data == PICTURES[0]
    assert [error.code for error in unread] == ["invalid_image"] * 2


@pytest.mark.parametrize(
    ("kind", "changes", "param"),
    [
        ("controller", {"examples": []}, "examples"),
        ("controller", {"examples": [{"data": "", "label": "cat", "weight": 1}]}, "examples[0].weight"),
        ("controller", {"examples": [{"data": ""}]}, "examples[0].label"),
        ("controller", {"seed": -1}, "seed"),
        ("controller", {"seed": 1 << 32}, "seed"),
        ("controller", {"images": []}, "images"),
        ("cascade", {"images": []}, "images"),
        ("cascade", {"epsilon": 0.0}, "epsilon"),
        ("cascade", {"epsilon": 1.0}, "epsilon"),
        ("cascade", {"delta": -0.1}, "delta"),
        ("cascade", {"delta": "half"}, "delta"),
        ("cascade", {"labels": [1, 2]}, "labels[0]"),
        ("cascade", {"examples": []}, "examples"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, kind: ArtefactKind, changes: dict[str, Any], param: str) -> None:
    response = await api.client.post(f"{URL}/{kind}", json={**BODIES[kind], **changes})
    assert error_of(response, 422, "invalid_request")["param"] == param


async def test_a_label_that_is_none_of_the_sets_is_named_with_how_many_more(api: Api) -> None:
    labels = ["cat", "Cat", " cat", "Cat"]
    error = error_of(
        await api.client.post(f"{URL}/controller", json=examples_call(PICTURES[:4], labels)), 422, "invalid_examples"
    )
    assert (error["param"], error["message"][:63]) == (
        "examples",
        '"Cat" is not a label of this label set (2 unknown in all). Its ',
    )
    parts = [file("examples[tiger]", PICTURES[0])]
    error = error_of(await api.client.post(f"{URL}/controller", files=parts), 422, "invalid_examples")
    assert '"tiger"' in error["message"]
    call = images_call(PICTURES[:2], labels=["cat", "tiger"])
    error = error_of(await api.client.post(f"{URL}/cascade", json=call), 422, "invalid_examples")
    assert error["param"] == "labels"


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_labels_are_for_all_images_or_for_none(api: Api, count: int) -> None:
    labels = ["cat"] * count
    call = images_call(PICTURES[:2], labels=labels)
    error = error_of(await api.client.post(f"{URL}/cascade", json=call), 422, "invalid_examples")
    assert error["param"] == "labels"
    assert error["message"].startswith(f"{count} labels for 2 images. Send one label for each")
    parts = [*[file("images", image) for image in PICTURES[:2]], fields(labels=labels)]
    error_of(await api.client.post(f"{URL}/cascade", files=parts), 422, "invalid_examples")


@pytest.mark.parametrize(
    ("kind", "parts", "status", "code", "param"),
    [
        ("controller", [file("images", b"x")], 422, "invalid_request", "images"),
        ("controller", [file("examples", b"x")], 422, "invalid_request", "examples"),
        ("controller", [file("examples[]", b"x")], 422, "invalid_request", "examples[]"),
        ("cascade", [file("examples[cat]", b"x")], 422, "invalid_request", "examples[cat]"),
        ("cascade", [("images", (None, "x"))], 422, "invalid_request", "images"),
        ("cascade", [fields(epsilon=0.1)], 422, "invalid_examples", "images"),
        ("controller", [fields()], 422, "invalid_examples", "images"),
        ("cascade", [file("images", b"x"), fields(), fields()], 400, "malformed_body", None),
        ("cascade", [file("images", b"x"), ("request", (None, "{"))], 400, "malformed_body", None),
        ("cascade", [file("images", b"x"), fields(colour="red")], 422, "invalid_request", "colour"),
    ],
)
async def test_parts_that_do_not_belong_there_are_refused(
    api: Api, kind: str, parts: list[Part], status: int, code: str, param: str | None
) -> None:
    response = await api.client.post(f"{URL}/{kind}", files=parts)
    assert error_of(response, status, code)["param"] == param


@pytest.mark.parametrize("kind", ["controller", "cascade"])
@pytest.mark.parametrize("content_type", ["image/jpeg", "text/plain", "application/octet-stream", ""])
async def test_other_content_types_are_not_read(api: Api, kind: str, content_type: str) -> None:
    response = await api.client.post(f"{URL}/{kind}", content=b"x", headers={"content-type": content_type})
    assert "multipart/form-data" in error_of(response, 415, "unsupported_media_type")["message"]


@pytest.mark.parametrize("kind", ["controller", "cascade"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"images": [}', b"\xff\xfe{}", b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(api: Api, kind: str, body: bytes) -> None:
    response = await api.client.post(f"{URL}/{kind}", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    error_of(response, response.status_code, "malformed_body" if response.status_code == 400 else "invalid_request")


async def test_nothing_of_a_refused_call_is_begun(api: Api) -> None:
    before = (await api.client.get("/v1/jobs")).json()["data"]
    await api.client.post(f"{URL}/controller", json=examples_call(PICTURES[:1], ["tiger"]))
    await api.client.post(f"{URL}/cascade", json=images_call([]))
    assert (await api.client.get("/v1/jobs")).json()["data"] == before


async def test_more_images_than_the_limit_are_refused_in_both_forms(make_app: MakeApp) -> None:
    async with pets_on(make_app(max_job_images=3, drain_timeout_s=0.01)) as api:
        for count, accepted in ((3, True), (4, False), (9, False)):
            images = PICTURES[:count]
            parts = [file("images", image) for image in images]
            named = [file("examples[cat]", image) for image in images]
            for kind, body in (
                ("cascade", {"json": images_call(images)}),
                ("cascade", {"files": parts}),
                ("controller", {"json": examples_call(images, ["cat"] * count)}),
                ("controller", {"files": named}),
            ):
                response = await api.client.post(f"{URL}/{kind}", **body)
                if accepted:
                    assert response.status_code == 202, response.text
                else:
                    error = error_of(response, 413, "payload_too_large")
                    assert "QUORUM_MAX_JOB_IMAGES" in error["message"]


async def test_these_bodies_may_be_larger_than_others_up_to_a_limit_of_their_own(make_app: MakeApp) -> None:
    image = encoded(photograph(200, 200), "PNG")
    small, large = len(image) + 2_000, 3 * len(image)
    async with pets_on(make_app(max_body_bytes=small, max_job_body_bytes=large, drain_timeout_s=0.01)) as api:
        for count, status in ((2, 202), (4, 413)):
            for kind, name in (("cascade", "images"), ("controller", "examples[cat]")):
                response = await api.client.post(f"{URL}/{kind}", files=[file(name, image)] * count)
                assert response.status_code == status, response.text
        response = await api.client.post("/v1/classify", files=[file("images", image)] * 2)
        error_of(response, 413, "payload_too_large")


async def test_json_of_too_many_values_is_not_parsed(api: Api) -> None:
    body = b'{"images": [' + b"1," * 1_000_001 + b"1]}"
    for kind in ("controller", "cascade"):
        response = await api.client.post(f"{URL}/{kind}", content=body, headers=JSON)
        error_of(response, 413, "payload_too_large")


async def test_an_image_that_is_too_large_is_the_jobs_to_tell(make_app: MakeApp) -> None:
    async with pets_on(make_app(max_image_bytes=len(PICTURES[0]))) as api:
        result = await api.succeeded(await api.calibrate([PICTURES[0], PICTURES[0] + b"\0"]))
        assert [(each["index"], each["code"]) for each in result["skipped"]] == [(1, "image_too_large")]


async def test_no_file_touches_the_disk(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def spooled(*_: Any, **__: Any) -> None:
        raise AssertionError("an image would be stored")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", spooled)
    image = encoded(photograph(900, 900), "PNG")
    assert len(image) > 1 << 20, "beyond what Starlette keeps in memory by itself"
    response = await api.client.post(f"{URL}/cascade", files=[file("images", image)] * 3)
    assert response.status_code == 202


async def test_a_body_may_take_longer_to_arrive_than_a_call_may_take_otherwise(make_app: MakeApp) -> None:
    app = make_app(default_deadline_ms=500, drain_timeout_s=0.01)
    async with pets_on(app):
        for kind, body in BODIES.items():
            caller = Caller("POST", f"{URL}/{kind}", JSON)
            task = caller.start(app)
            content = json.dumps(body).encode()
            caller.feed(content[:100], more=True)
            await asyncio.sleep(0.7)
            caller.feed(content[100:])
            await task
            assert caller.status == 202, caller.body


async def test_a_label_set_that_changes_while_the_body_arrives_is_a_conflict(make_app: MakeApp) -> None:
    app = make_app(drain_timeout_s=0.01)
    async with pets_on(app) as api:
        for number, (kind, body) in enumerate(BODIES.items()):
            caller = Caller("POST", f"{URL}/{kind}", JSON)
            task = caller.start(app)
            content = json.dumps(body).encode()
            caller.feed(content[:100], more=True)
            await asyncio.sleep(0.1)
            await api.client.put(URL, json={"labels": [*LABELS, f"bird {number}"]})
            caller.feed(content[100:])
            await task
            assert (caller.status, json.loads(caller.body)["error"]["code"]) == (409, "label_set_changed")


async def test_a_controller_deleted_while_a_calibration_is_taken_in_is_a_conflict(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else images that it was fitted on would be counted as new ones."""
    await api.controller(0.5, 2.0)

    async def gone(*_: Any) -> None:
        return None

    await api.answers(PICTURES[:1])  # it is in memory
    monkeypatch.setattr(api.services.artefacts, "get", gone)
    response: httpx2.Response = await api.client.post(f"{URL}/cascade", json=BODIES["cascade"])
    assert "pets/1" in error_of(response, 409, "conflict")["message"]
