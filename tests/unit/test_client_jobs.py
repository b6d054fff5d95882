"""The client's calls that begin jobs, and how it waits for them. No test here sleeps."""

from __future__ import annotations

import email.parser
import email.policy
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.api.schemas import JobOut
from service.client import (
    ApiError,
    CalibrationResult,
    ConnectionFailedError,
    FitResult,
    JobFailedError,
    JobUnfinishedError,
    UnexpectedResponseError,
    calls,
)
from tests.support.client import JOB, Caller, Server, ended, job

FITTED = {"label_set": "pets", "kind": "cascade", "active": 1, "versions": [], "shadow": None}
NOT_FOUND = {"message": "None.", "type": "invalid_request_error", "param": None, "code": "not_found", "request_id": "r"}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def parts(request: httpx2.Request) -> list[tuple[str, bytes]]:
    """Names and contents of a multipart body, as another implementation reads it."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.content)
    found = []
    for part in message.iter_parts():
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((str(part.get_param("name", header="content-disposition")), payload))
    return found


def test_examples_are_files_named_by_their_labels(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"one")
    server = Server(job("queued"))
    begun = call(server, "fit_controller", "pets", [(tmp_path / "cat.jpg", "cat"), (b"two", "a dog")], seed=7)
    assert begun.id == "job_1"
    assert server.requests[0].url.path == "/v1/label-sets/pets/controller"
    assert parts(server.requests[0]) == [
        ("request", b'{"seed": 7}'),
        ("examples[cat]", b"one"),
        ("examples[a dog]", b"two"),
    ]


@pytest.mark.parametrize("label", ['5" nail', "back\\slash", "two\nlines"])
def test_labels_that_no_header_carries_travel_as_json(call: Caller, label: str) -> None:
    server = Server(job("queued"))
    call(server, "fit_controller", "pets", [(b"\xff\xd8", label), (b"two", "cat")])
    body = json.loads(server.requests[0].content)
    assert [(b64decode(each["data"]), each["label"]) for each in body["examples"]] == [
        (b"\xff\xd8", label),
        (b"two", "cat"),
    ]
    assert server.requests[0].headers["content-type"] == "application/json"


def test_a_calibration_leaves_unsaid_what_the_server_decides(call: Caller) -> None:
    server = Server(job("queued"))
    call(server, "calibrate_cascade", "pets", [b"one", b"two"])
    assert parts(server.requests[0]) == [("request", b"{}"), ("images", b"one"), ("images", b"two")]
    call(server, "calibrate_cascade", "pets", [b"one"], labels=("cat",), epsilon=0.05, delta=0.2)
    assert json.loads(parts(server.requests[1])[0][1]) == {"labels": ["cat"], "epsilon": 0.05, "delta": 0.2}


@pytest.mark.parametrize(("method", "given"), [("fit_controller", []), ("calibrate_cascade", [])])
def test_to_begin_with_nothing_is_a_mistake_of_the_program(call: Caller, method: str, given: list[Any]) -> None:
    with pytest.raises(ValueError, match="give at least one"):
        call(Server(job("queued")), method, "pets", given)


def test_a_job_is_never_begun_twice(call: Caller) -> None:
    server = Server(httpx2.ReadError)
    with pytest.raises(ConnectionFailedError):
        call(server, "fit_controller", "pets", [(b"one", "cat")])
    assert len(server.requests) == 1


def test_the_size_of_a_body_is_known_before_it_is_sent(call: Caller) -> None:
    server = Server(job("queued"))
    images = [b"x" * 1000, b"y" * 10]
    call(server, "calibrate_cascade", "pets", images, labels=["cat", "Käse"])
    empty = calls.calibrate_cascade("pets", [b"", b""], ["cat", "Käse"], None, None)
    assert calls.body_bytes(empty) + sum(map(len, images)) == len(server.requests[0].content)


def test_waiting_tells_of_every_look_and_looks_less_and_less_often(call: Caller) -> None:
    running = [job("running", share / 10) for share in range(6)]
    server = Server(job("queued"), *running, job("succeeded", 1.0, result={"rung": "nlc"}))
    seen: list[JobOut] = []
    done = call(server, "wait_for_job", "job_1", on_progress=seen.append)
    assert done.result == {"rung": "nlc"}
    assert [each.progress for each in seen] == [0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]
    assert call.clock.slept_s == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_waiting_survives_a_lost_connection(call: Caller) -> None:
    server = Server(job("running"), httpx2.ReadError, httpx2.ConnectError, job("succeeded"))
    assert call(server, "wait_for_job", "job_1").state == "succeeded"


@pytest.mark.parametrize(
    ("state", "code"), [("failed", "job_timeout"), ("cancelled", "job_cancelled"), ("cancelled", "job_superseded")]
)
def test_a_job_without_a_result_is_an_error_with_its_code(call: Caller, state: str, code: str) -> None:
    with pytest.raises(JobFailedError) as caught:
        call(Server(job("running"), ended(state, code)), "wait_for_job", "job_1")
    assert (caught.value.code, caught.value.message, caught.value.job.state) == (code, "Not today.", state)
    assert str(caught.value) == f"Not today. ({code}, job_1)"


def test_a_wait_that_is_over_leaves_the_job_alone(call: Caller) -> None:
    server = Server(job("running", 0.4))
    with pytest.raises(JobUnfinishedError, match="still running, 40% done") as caught:
        call(server, "wait_for_job", "job_1", timeout_s=2.0)
    assert caught.value.job.progress == 0.4
    assert sum(call.clock.slept_s) == pytest.approx(2.0)
    assert {request.method for request in server.requests} == {"GET"}


def test_a_job_that_is_over_is_looked_at_once_even_without_time(call: Caller) -> None:
    server = Server(job("succeeded"))
    assert call(server, "wait_for_job", "job_1", timeout_s=0.0).state == "succeeded"
    assert call.clock.slept_s == []


def test_a_forgotten_job_ends_the_wait(call: Caller) -> None:
    with pytest.raises(ApiError) as caught:
        call(Server(httpx2.Response(404, json={"error": NOT_FOUND})), "wait_for_job", "job_1")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("method", "arguments", "request_line", "answer"),
    [
        ("job", ["job_1"], "GET /v1/jobs/job_1", JOB),
        ("cancel_job", ["job_1"], "DELETE /v1/jobs/job_1", JOB),
        ("fitted", ["pets", "cascade"], "GET /v1/label-sets/pets/cascade", FITTED),
        ("activate", ["pets", "cascade", 2], "PUT /v1/label-sets/pets/cascade", FITTED),
    ],
)
def test_calls_go_where_they_belong(
    call: Caller, method: str, arguments: list[Any], request_line: str, answer: dict[str, Any]
) -> None:
    server = Server(httpx2.Response(200, json=answer))
    assert call(server, method, *arguments).label_set == "pets"
    (request,) = server.requests
    assert f"{request.method} {request.url.path}" == request_line
    assert request.content == (b'{"version": 2}' if method == "activate" else b"")


def test_what_is_deleted_answers_nothing(call: Caller) -> None:
    server = Server(httpx2.Response(204))
    assert call(server, "delete_fitted", "pets", "controller") is None
    assert server.requests[0].url.path == "/v1/label-sets/pets/controller"


def test_an_id_cannot_become_another_address(call: Caller) -> None:
    server = Server(job("queued"))
    call(server, "cancel_job", "../label-sets/pets")
    assert server.requests[0].url.raw_path == b"/v1/jobs/..%2Flabel-sets%2Fpets"


def test_jobs_are_listed_across_pages(call: Caller) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        assert request.url.params["label_set"] == "pets"
        last = request.url.params.get("after") == "job_2"
        data = [{**JOB, "id": "job_1" if last else "job_2"}]
        body = {"data": data, "has_more": not last, "first_id": data[0]["id"], "last_id": data[0]["id"]}
        return httpx2.Response(200, json=body)

    assert [found.id for found in call(page, "list_jobs", label_set="pets", page_size=1)] == ["job_2", "job_1"]


@pytest.mark.parametrize("kind", [FitResult, CalibrationResult])
@pytest.mark.parametrize("result", [None, {}, {"rung": "guess"}])
def test_what_is_no_result_is_not_taken_for_one(
    kind: type[FitResult | CalibrationResult], result: dict[str, Any] | None
) -> None:
    with pytest.raises(UnexpectedResponseError, match="not a result"):
        kind.of(JobOut.model_validate({**JOB, "result": result}))
