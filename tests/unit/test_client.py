"""The client: what it sends, what it makes of answers, and when it tries again. No test here sleeps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import pytest

from service.client import (
    ApiError,
    AsyncQuorumClient,
    ConnectionFailedError,
    QuorumClient,
    Retry,
    TimedOutError,
    UnexpectedResponseError,
)
from tests.support.client import Caller, Server

ROOT = Path(__file__).parents[2]
NO_JITTER = Retry(jitter=0.0)
HEALTHY = httpx2.Response(200, json={"status": "ok"})
NO_MODELS = {"object": "list", "data": []}
BUSY = {
    "error": {
        "message": "Busy.",
        "type": "rate_limit_error",
        "param": None,
        "code": "overloaded",
        "request_id": "req_1",
    }
}


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def refusal(status: int, retry_after: str | None = None) -> httpx2.Response:
    return httpx2.Response(status, json=BUSY, headers={} if retry_after is None else {"Retry-After": retry_after})


def label_set(name: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "name": name,
        "labels": ["cat"],
        "templates": ["{}"],
        "digest": "d",
        "backbones": {},
        "created_at": now,
        "updated_at": now,
        "controller": None,
        "cascade": None,
    }


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_the_server_says_and_asks_again(call: Caller, status: int) -> None:
    server = Server(refusal(status, "3"), refusal(status, "1"), httpx2.Response(200, json=NO_MODELS))
    assert call(server, "models", retry=NO_JITTER).data == []
    assert call.clock.slept_s == [3.0, 1.0]


def test_jitter_only_ever_adds_to_what_the_server_says(call: Caller) -> None:
    server = Server(*[refusal(429, "2")] * 7, httpx2.Response(200, json=NO_MODELS))
    call(server, "models", retry=Retry(max_attempts=8, jitter=0.5))
    assert len(set(call.clock.slept_s)) > 1
    assert all(2.0 <= wait_s <= 3.0 for wait_s in call.clock.slept_s)


def test_without_retry_after_the_waits_double(call: Caller) -> None:
    server = Server(*[refusal(503)] * 3, httpx2.Response(200, json=NO_MODELS))
    call(server, "models", retry=Retry(backoff_s=0.5, jitter=0.0))
    assert call.clock.slept_s == [0.5, 1.0, 2.0]


def test_it_gives_up_after_the_last_attempt_with_the_servers_error(call: Caller) -> None:
    server = Server(refusal(429, "1"))
    with pytest.raises(ApiError) as caught:
        call(server, "models", retry=Retry(max_attempts=3))
    assert caught.value.code == "overloaded"
    assert len(server.requests) == 3


def test_it_gives_up_at_its_deadline_without_waiting_in_vain(call: Caller) -> None:
    server = Server(refusal(503, "10"))
    with pytest.raises(ApiError):
        call(server, "models", retry=Retry(max_attempts=100, deadline_s=25.0, jitter=0.0))
    assert call.clock.slept_s == [10.0, 10.0]


def test_a_wait_beyond_the_cap_is_not_begun_and_the_error_says_how_long_it_is(call: Caller) -> None:
    with pytest.raises(ApiError) as caught:
        call(Server(refusal(429, "3600")), "models")
    assert caught.value.retry_after_s == 3600.0
    assert call.clock.slept_s == []


@pytest.mark.parametrize("status", [400, 404, 422, 500, 502, 504])
def test_other_errors_are_raised_at_once(call: Caller, status: int) -> None:
    server = Server(refusal(status, "1"))
    with pytest.raises(ApiError):
        call(server, "models")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "lost", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ReadError, httpx2.RemoteProtocolError]
)
def test_a_call_that_only_reads_survives_a_lost_connection(call: Caller, lost: type[httpx2.TransportError]) -> None:
    server = Server(lost, httpx2.Response(200, json=NO_MODELS))
    assert call(server, "models").data == []
    assert len(server.requests) == 2


def test_a_write_is_not_repeated_after_a_lost_connection(call: Caller) -> None:
    server = Server(httpx2.ReadError)
    with pytest.raises(ConnectionFailedError):
        call(server, "put_label_set", "pets", ["cat"])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("failure", "sentence", "may_have_arrived"),
    [
        (httpx2.ConnectError, "cannot be reached: on purpose", False),
        (httpx2.ReadError, "connection to http://127.0.0.1:8000 was lost: on purpose", True),
        (httpx2.RemoteProtocolError, "was lost: on purpose", True),
        (httpx2.ReadTimeout, "did not answer PUT /v1/label-sets/pets in time", True),
    ],
)
def test_an_error_tells_whether_the_server_may_know_of_the_call(
    call: Caller, failure: type[httpx2.TransportError], sentence: str, may_have_arrived: bool
) -> None:
    with pytest.raises(ConnectionFailedError, match=sentence) as caught:
        call(Server(failure), "put_label_set", "pets", ["cat"])
    assert caught.value.may_have_arrived is may_have_arrived


def test_a_failure_without_words_is_called_by_its_name(call: Caller) -> None:
    def silent(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("", request=request)

    with pytest.raises(ConnectionFailedError, match=r"was lost: ReadError\.$"):
        call(silent, "put_label_set", "pets", ["cat"])


def test_a_write_that_was_refused_for_now_is_repeated(call: Caller) -> None:
    server = Server(refusal(503, "1"), httpx2.Response(201, json=label_set("pets")))
    assert call(server, "put_label_set", "pets", ["cat"]).name == "pets"


def test_a_slow_answer_is_not_asked_for_twice(call: Caller) -> None:
    server = Server(httpx2.ReadTimeout)
    with pytest.raises(TimedOutError, match="GET /v1/models in time"):
        call(server, "models")
    assert len(server.requests) == 1


def test_an_unreachable_server_is_named_without_the_password_in_its_url(call: Caller) -> None:
    with pytest.raises(ConnectionFailedError, match="cannot be reached") as caught:
        call(Server(httpx2.ConnectError), "models", base_url="http://user:hidden@quorum.test:8000")
    assert caught.value.url == "http://quorum.test:8000"
    assert "hidden" not in str(caught.value)


def test_no_wait_of_an_attempt_ends_after_the_deadline_of_the_call(call: Caller) -> None:
    server = Server(refusal(503, "8"), httpx2.Response(200, json=NO_MODELS))
    call(server, "models", retry=Retry(deadline_s=10.0, jitter=0.0))
    first, second = (request.extensions["timeout"] for request in server.requests)
    assert max(first.values()) == 10.0
    assert max(second.values()) == 2.0


def test_a_calls_own_deadline_bounds_how_long_it_is_waited_for(call: Caller) -> None:
    server = Server(httpx2.ReadTimeout)
    with pytest.raises(TimedOutError):
        call(server, "classify", [b"image"], labels=["cat"], deadline_ms=500)
    assert server.requests[0].extensions["timeout"]["read"] == 5.5


def test_the_error_shape_becomes_an_exception_with_its_fields(call: Caller) -> None:
    body = {"message": "Say less.", "type": "invalid_request_error", "param": "labels[1]", "code": "invalid_labels"}
    answer = httpx2.Response(422, json={"error": body | {"request_id": "req_7"}})
    with pytest.raises(ApiError) as caught:
        call(Server(answer), "models")
    error = caught.value
    assert (error.message, error.status, error.code, error.type) == (
        "Say less.",
        422,
        "invalid_labels",
        "invalid_request_error",
    )
    assert (error.param, error.request_id, error.retry_after_s) == ("labels[1]", "req_7", None)
    assert str(error) == "Say less. (invalid_labels, HTTP 422, request req_7)"


def test_a_proxys_error_page_is_an_api_error_too(call: Caller) -> None:
    with pytest.raises(ApiError, match=r"answered 502 Bad Gateway") as caught:
        call(Server(httpx2.Response(502, html="<h1>Bad Gateway</h1>")), "models")
    assert (caught.value.code, caught.value.request_id) == ("http_502", None)


def test_retry_after_may_be_a_date(call: Caller) -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    with pytest.raises(ApiError) as caught:
        call(Server(refusal(429, format_datetime(at, usegmt=True))), "models")
    assert caught.value.retry_after_s == pytest.approx(100, abs=5)


def test_a_retry_after_that_is_neither_is_ignored(call: Caller) -> None:
    server = Server(refusal(429, "soon"), httpx2.Response(200, json=NO_MODELS))
    call(server, "models", retry=NO_JITTER)
    assert call.clock.slept_s == [NO_JITTER.backoff_s]


def test_a_success_in_another_shape_is_not_taken_for_an_answer(call: Caller) -> None:
    with pytest.raises(UnexpectedResponseError, match="Is it a Quorum server"):
        call(Server(httpx2.Response(200, text="hello")), "models")


def test_a_body_that_cannot_be_decoded_is_an_unexpected_response(call: Caller) -> None:
    answer = httpx2.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"no gzip"))
    with pytest.raises(UnexpectedResponseError):
        call(lambda _: answer, "models")


def test_the_key_is_sent_as_a_bearer_token(call: Caller) -> None:
    server = Server(httpx2.Response(200, json=NO_MODELS))
    call(server, "models", api_key="secret")
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_a_name_cannot_become_another_address(call: Caller) -> None:
    server = Server(httpx2.Response(200, json=label_set("x")))
    call(server, "get_label_set", "../models?x", base_url="http://quorum.test/prefix/")
    assert server.requests[0].url.raw_path == b"/prefix/v1/label-sets/..%2Fmodels%3Fx"
    with pytest.raises(ValueError, match="not a name"):
        call(server, "get_label_set", "..")


def test_label_sets_are_listed_across_pages(call: Caller) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        after = request.url.params.get("after")
        data = [label_set("b")] if after == "a" else [label_set("a")]
        body = {"data": data, "has_more": after is None, "first_id": data[0]["name"], "last_id": data[0]["name"]}
        return httpx2.Response(200, json=body)

    assert [found.name for found in call(page, "list_label_sets", page_size=1)] == ["a", "b"]


def test_label_sets_take_any_sequence_and_mapping(call: Caller) -> None:
    server = Server(httpx2.Response(201, json=label_set("pets")))
    call(server, "put_label_set", "pets", MappingProxyType({"cat": ("cat", "kitten")}), ("a {}.",))
    assert json.loads(server.requests[0].content) == {"labels": {"cat": ["cat", "kitten"]}, "templates": ["a {}."]}
    assert server.requests[0].headers["content-type"] == "application/json"


def test_health_is_asked_for_once_and_never_raises(call: Caller) -> None:
    sick = Server(refusal(503, "1"))
    assert call(Server(HEALTHY), "healthy") is True
    assert call(sick, "healthy") is False
    assert len(sick.requests) == 1
    assert call(Server(httpx2.ConnectError), "healthy") is False
    assert call(Server(httpx2.Response(200, text="another server")), "healthy") is False


def test_no_images_are_a_mistake_of_the_program(call: Caller) -> None:
    with pytest.raises(ValueError, match="no images"):
        call(Server(HEALTHY), "classify", [], labels=["cat"])


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://quorum.test", "http://", "http://[::1", ""])
@pytest.mark.parametrize("client", [QuorumClient, AsyncQuorumClient])
def test_a_base_url_that_is_none_is_refused_at_once(client: Callable[[str], object], url: str) -> None:
    with pytest.raises(ValueError, match=r"not the address of a server|not a URL"):
        client(url)


def test_importing_the_client_leaves_the_framework_and_the_engines_out() -> None:
    heavy = {"fastapi", "starlette", "onnxruntime", "tritonclient", "numpy", "PIL"}
    check = f"import sys, service.client; sys.exit(', '.join({heavy!r} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
