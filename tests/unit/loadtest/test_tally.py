"""Statistics that a reader will take at their word."""

from __future__ import annotations

import json

import pytest

from loadtest.connection import Response
from loadtest.tally import KEPT_ANSWERS, Tally, milliseconds, parse_server_timing, server_timing_ms, spread, work


def answer(status: int = 200, timing: bytes = b"", body: object = None) -> Response:
    return Response(status, {b"server-timing": timing}, json.dumps(body or {}).encode())


def test_percentiles_are_those_of_the_latencies_in_milliseconds() -> None:
    described = milliseconds([index / 1000 for index in range(101)])
    assert described == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "mean": 50.0, "max": 100.0}


def test_nothing_measured_is_not_zero() -> None:
    assert milliseconds([]) is None
    assert Tally(1.0).summary()["latency_ms"] is None


def test_spread_names_median_quartiles_and_range() -> None:
    assert spread([5.0, 1.0, 2.0, 3.0, 4.0]) == {"median": 3.0, "q1": 2.0, "q3": 4.0, "min": 1.0, "max": 5.0}


def test_rate_is_good_answers_over_the_counted_time() -> None:
    tally = Tally(2.0)
    for outcome in (answer(), answer(), answer(), answer(429), answer(503), "timeout"):
        tally.add(outcome, 0.1)
    summary = tally.summary()
    assert summary["images_per_s"] == 1.5
    assert (summary["answered"], summary["refused_429"]) == (3, 1)
    assert summary["errors"] == {"503": 1, "timeout": 1}


def test_only_the_first_answers_are_kept() -> None:
    tally = Tally(1.0)
    for _ in range(KEPT_ANSWERS + 10):
        tally.add(answer(), 0.1)
    assert len(tally.answers) == KEPT_ANSWERS
    assert len(tally.latencies_s) == KEPT_ANSWERS + 10


def test_server_timing_is_read_and_entries_without_a_duration_are_left_out() -> None:
    header = b'decode;dur=1.5, embed;desc="two towers";dur=20, cache, decode;dur=0.5'
    assert parse_server_timing(header) == {"decode": 2.0, "embed": 20.0}
    assert parse_server_timing(b"") == {}


def test_stages_are_medians_over_answers() -> None:
    answers = [answer(timing=f"decode;dur={value}".encode()) for value in (1, 2, 9)]
    assert server_timing_ms(answers) == {"decode": 2.0}


def test_work_says_what_was_computed_and_so_what_the_cache_answered() -> None:
    fresh = {"images": 1, "backbone_calls": {"a": 1, "b": 1}, "gflops": 3.0}
    cached = {"images": 1, "backbone_calls": {}, "gflops": 0.0}
    found = work([answer(body={"usage": usage}) for usage in (fresh, cached)])
    assert found == {"answers_read": 2, "gflops_per_image": 1.5, "calls_per_image": 1.0}
    assert work([]) is None


@pytest.mark.parametrize("header", [b"5", b"nan", b"inf", b"-1", b"soon", b"Wed, 21 Oct 2026 07:28:00 GMT"])
def test_a_refusal_is_counted_with_and_without_retry_after(header: bytes) -> None:
    tally = Tally(1.0)
    tally.add(Response(429, {} if header == b"nan" else {b"retry-after": header}, b""), 0.001)
    assert tally.summary()["refused_429"] == 1
    assert list(tally.retry_after_s) == ([5.0] if header == b"5" else [])
