"""What the gallery scenario makes up, sends and counts; and all of it against galleries of a stub."""

from __future__ import annotations

import asyncio
import base64
import email
import itertools
import json
from collections.abc import Sequence
from email.message import Message
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from loadtest.client import Timing
from loadtest.connection import Pool, Response
from loadtest.gateway import GatewayError
from loadtest.images import make_jpegs
from loadtest.scenarios import gallery_tables
from loadtest.scenarios.gallery import per_item_kib
from loadtest.scenarios.gallery_data import Vectors, id_of, item_of, make_vectors, text_of
from loadtest.scenarios.gallery_ingest import describe_changes, shares, together
from loadtest.scenarios.gallery_payload import Parts, Pictures, embedding_searches, ready_items, text_searches
from loadtest.scenarios.gallery_plain import plain_call_s, plain_search
from loadtest.scenarios.gallery_recall import recall_at, score_error, weighted
from loadtest.scenarios.gallery_search import describe_answers, load_of, rounds, search_cases
from loadtest.suite import Suite, headline
from loadtest.tally import Tally
from tests.unit.loadtest.stub import HOST, Asked, Reply, stub_server

WIDTHS = {"small": 8, "large": 12}


@pytest.fixture
def vectors() -> Vectors:
    return make_vectors(WIDTHS, 400, 8)


def body_of(parts: Parts) -> dict[str, Any]:
    """The JSON of a call, whose head must tell the body's length."""
    head, body = b"".join(parts).split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}" in head.decode()
    return dict(json.loads(body))


def answer_of(results: Sequence[dict[str, Any]], calls: dict[str, int] | None = None) -> Response:
    return Response(200, {}, json.dumps({"results": results, "usage": {"backbone_calls": calls or {}}}).encode())


# What is made up.


def test_every_part_of_a_made_up_embedding_has_length_one_and_a_seed_repeats_it(vectors: Vectors) -> None:
    assert (vectors.items.shape, vectors.queries.shape) == ((400, 20), (8, 20))
    assert vectors.items.dtype == vectors.queries.dtype == np.dtype(np.float32)
    for place in vectors.places.values():
        np.testing.assert_allclose(np.linalg.norm(vectors.items[:, place], axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(make_vectors(WIDTHS, 400, 8).items, vectors.items)
    assert not np.array_equal(make_vectors(WIDTHS, 400, 8, seed=1).items, vectors.items)


def test_neighbours_of_one_backbone_are_near_for_the_other_too() -> None:
    found = make_vectors({"small": 64, "large": 96}, 1_000, 0)
    small, large = (found.items[:, place] for place in found.places.values())
    nearest = plain_search(small, small[:50], 2)[:, 1]
    agreement = np.einsum("ij,ij->i", large[:50], large[nearest])
    by_chance = large[:50] @ large.T
    assert agreement.mean() > 0.4 > 0.1 > by_chance.mean()


def test_a_percent_of_the_field_is_a_percent_of_the_items(vectors: Vectors) -> None:
    assert [int(vectors.below(percent).sum()) for percent in (0, 1, 50, 100)] == [0, 4, 200, 400]


def test_columns_are_those_of_the_backbones_that_are_asked(vectors: Vectors) -> None:
    np.testing.assert_array_equal(vectors.items[:, vectors.columns(["large"])], vectors.items[:, 8:])
    assert vectors.items[:, vectors.columns(["large", "small"])].shape == (400, 20)


def test_no_text_comes_twice_and_ids_are_read_back() -> None:
    numbers = [*range(3_000), *range(205_000, 207_000), *range(411_000, 412_000)]
    assert len({text_of(number) for number in numbers}) == len(numbers)
    assert [item_of(id_of(number)) for number in (0, 99_999)] == [0, 99_999]


# What is sent.


def test_every_item_is_sent_once_with_its_embedding_and_field(vectors: Vectors) -> None:
    calls = [body_of(parts)["items"] for parts in ready_items(vectors, "g", "host", 150)]
    assert [len(items) for items in calls] == [150, 150, 100]
    items = list(itertools.chain(*calls))
    assert [item["fields"]["percent"] for item in items[99:102]] == [99, 0, 1]
    sent = np.stack([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in items])
    np.testing.assert_array_equal(sent, vectors.items)


def test_searches_carry_as_many_queries_as_asked_for(vectors: Vectors) -> None:
    requests = embedding_searches("g", "host", vectors.queries, 4, {"policy": "mean"})
    calls = [body_of(next(requests)) for _ in range(3)]
    assert [len(call["queries"]) for call in calls] == [4, 4, 4]
    assert calls[0] == calls[2] != calls[1]
    texts = text_searches("g", "host", itertools.count(), 3, {"policy": "mean"})
    asked = [query["text"] for _ in range(2) for query in body_of(next(texts))["queries"]]
    assert asked == [text_of(number) for number in range(6)]


def test_pictures_go_as_files_that_are_named_by_id_and_never_the_same_twice() -> None:
    jpegs = make_jpegs([Image.effect_noise((80, 80), 60).convert("RGB")], 2)
    requests = Pictures(jpegs, "host", 3).for_gallery("g")
    names, files = [], []
    for _ in range(2):
        head, body = b"".join(next(requests)).split(b"\r\n\r\n", 1)
        assert head.startswith(b"POST /v1/galleries/g/items HTTP/1.1\r\n")
        content_type = next(line for line in head.decode().splitlines() if line.startswith("Content-Type"))
        message = email.message_from_bytes(f"{content_type}\r\n\r\n".encode() + body)
        fields, *pictures = cast(list[Message], message.get_payload())
        assert json.loads(cast(bytes, fields.get_payload(decode=True))) == {"deadline_ms": 60_000}
        names += [part.get_param("name", header="content-disposition") for part in pictures]
        files += [cast(bytes, part.get_payload(decode=True)) for part in pictures]
    assert names == [f"images[{id_of(number)}]" for number in range(6)]
    assert len(set(files)) == 6


def test_the_same_pictures_go_to_embeddings_as_data_uris() -> None:
    jpegs = make_jpegs([Image.effect_noise((80, 80), 60).convert("RGB")], 1)
    call = body_of(next(Pictures(jpegs, "host", 2).for_embeddings()))
    first, second = (base64.b64decode(uri.partition(",")[2]) for uri in call["input"])
    assert first != second
    assert first[18:] == second[18:] == jpegs[0][2:]


# What is compared with.


@pytest.mark.parametrize("percent", [1, 50, 100])
@pytest.mark.parametrize("count", [1, 8])
def test_the_baseline_finds_the_best_of_those_that_match(vectors: Vectors, percent: int, count: int) -> None:
    matching = vectors.below(percent)
    found = plain_search(vectors.items, vectors.queries[:count], 3, None if percent == 100 else matching)
    scores = np.where(matching, vectors.queries[:count] @ vectors.items.T, -np.inf)
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :3])


def test_the_baseline_is_timed_by_the_call_and_copes_with_few_items(vectors: Vectors) -> None:
    times_s = plain_call_s(vectors.items, vectors.queries, 4, 10, vectors.below(1), 1, 0.01)
    assert len(times_s) >= 3
    assert sum(times_s) >= 0.01


def test_recall_counts_equals_as_found_and_neither_strangers_nor_repetitions() -> None:
    exact = np.array([0.9, 0.8, 0.8, 0.7, 0.95], dtype=np.float32)
    matching = np.array([True, True, True, True, False])
    assert recall_at(2, [0, 2], exact, matching) == 1.0
    assert recall_at(2, [0, 1], exact, matching) == 1.0
    assert recall_at(2, [0, 3], exact, matching) == 0.5
    assert recall_at(2, [4, 0], exact, matching) == 0.5
    assert recall_at(2, [0, 0], exact, matching) == 0.5
    assert recall_at(2, [], exact, matching) == 0.0
    assert recall_at(1, [2, 0], exact, matching) == 0.0
    assert recall_at(9, [0, 1, 2, 3], exact, matching) == 1.0


def test_a_query_is_weighted_part_by_part_and_scores_are_checked(vectors: Vectors) -> None:
    query = weighted(vectors.queries[0], {"large": 0.25}, vectors.places)
    assert not query[:8].any()
    exact = vectors.items @ query
    assert exact[7] == pytest.approx(0.25 * vectors.queries[0, 8:] @ vectors.items[7, 8:])
    hits = [{"id": id_of(7), "score": float(exact[7]) + 0.5}, {"id": id_of(3), "score": float(exact[3])}]
    assert score_error(hits, exact) == pytest.approx(0.5)


# What is counted.


def test_answers_say_how_queries_ended_and_what_they_cost() -> None:
    good = {"index": 0, "hits": [{}, {}], "exit_reason": "full"}
    answers = [answer_of([good, {"index": 1, "error": {}}], {"a": 1, "b": 1}), answer_of([good | {"hits": [{}]}, good])]
    found = describe_answers(answers)
    assert (found["queries_read"], found["failed_queries"], found["hits_min"]) == (4, 1, 1)
    assert (found["calls_per_query"], found["exits"]) == (0.5, {"full": 3})
    assert describe_answers([])["calls_per_query"] is None


async def asked_of_a_slow_server(clients: int, call_s: float, timing: Timing) -> Tally:
    """The tally of a load on a server that takes its time, and serves one after the other."""
    turn = asyncio.Lock()

    async def serve(_: Asked) -> Reply:
        async with turn:
            await asyncio.sleep(0.05)
        return Reply()

    async with stub_server(serve) as port:
        pool = Pool(HOST, port)
        try:
            return await load_of(itertools.repeat([b"GET / HTTP/1.1\r\n\r\n"]), clients, timing, call_s)(pool)
        finally:
            pool.close()


async def test_slow_calls_are_counted_in_whole_rounds() -> None:
    tally = await asked_of_a_slow_server(3, 0.05, Timing(0.0, 0.2))
    assert len(tally.latencies_s) == 6
    assert tally.images_per_s == pytest.approx(20, rel=0.3)


async def test_quick_calls_are_counted_for_as_long_as_planned() -> None:
    tally = await asked_of_a_slow_server(2, 0.05, Timing(0.1, 0.6))
    assert len(tally.latencies_s) >= 6
    assert tally.duration_s < 0.8


async def test_a_round_without_an_answer_is_an_error_and_no_end() -> None:
    async def hang_up(_: Asked) -> None:
        return None

    async with stub_server(hang_up) as port:
        pool = Pool(HOST, port)
        tally = await rounds(pool, itertools.repeat([b"GET / HTTP/1.1\r\n\r\n"]), clients=2, count=2)
        pool.close()
    assert tally.errors == {"ConnectionLostError": 4}


def test_the_share_of_an_ingest_is_taken_round_by_round() -> None:
    rates = {"raw": [100.0, 50.0, 100.0], "gallery": [90.0, 45.0, 80.0], "embeddings": [100.0, 50.0, 100.0]}
    found = shares(rates)
    assert found["share_of_raw"]["median"] == pytest.approx(0.9)
    assert found["aim_met"] is True
    assert shares(rates | {"gallery": [80.0, 40.0, 80.0]})["aim_met"] is False
    assert together([100.0, 50.0]) == pytest.approx(33.333, rel=1e-3)


def test_changes_are_counted_and_failures_with_them() -> None:
    answers = [answer_of([{"status": "created"}, {"error": {}}]), Response(200, {}, b'{"data": []}')]
    assert describe_changes(answers) == {"created": 1, "failed": 1}


def test_memory_per_item_is_what_was_added() -> None:
    assert per_item_kib(100.0, 150.0, 1_024) == 50.0


def test_cases_ask_what_their_names_say() -> None:
    cases = {case.name: case.fields() for case in search_cases(("small",))}
    assert cases["single small"] == {"policy": "single", "top_k": 10, "backbones": ["small"]}
    assert cases["mean, 1 % match"]["filter"] == {"percent": {"lt": 1}}
    assert cases["text, cascade, all leave early"]["min_confidence"] == 0.0


# All of it.


def test_the_scenario_fills_searches_compares_weighs_and_restarts(suite: Suite) -> None:
    result = json.loads(suite.gallery().read_text())
    assert result["settings"]["items"] == 300
    parts = {part: [run for run in result["runs"] if run["part"] == part] for part in gallery_tables.PARTS}
    (filled,), (memory,), (restart,), (ingest,) = (parts[each] for each in ("fill", "memory", "restart", "ingest"))
    assert filled["created"] == filled["counted"] == 300
    assert memory["vector_kib_per_item"] == round((8 + 12 + 8) * 4 / 1024, 3)
    assert memory["disk_kib_per_item"] > 0.1
    assert restart["first_search_s"]["median"] >= restart["ready_s"]["median"] > 0.1
    assert all(run["recall_at_10"] == run["recall_at_1"] == 1.0 and run["aim_met"] for run in parts["recall"])
    assert {run["concurrency"] for run in parts["search"]} == {1, 2}
    assert all(run["load_average"] >= 0 for run in result["runs"])
    assert all(run["searches_per_s"] > 0 and not run["failed_queries"] for run in parts["search"])
    by_name = {run["case"]: run for run in parts["search"]}
    assert by_name["text, mean"]["calls_per_query"] == 2.0
    assert by_name["mean"]["calls_per_query"] == 0.0
    assert ingest["gallery_images_per_s"]["median"] > 0
    assert ingest["aim_met"] == (ingest["share_of_raw"]["median"] >= ingest["aim_share"])
    for run in result["runs"]:
        head, row = gallery_tables.PARTS[run["part"]]
        assert len(row(run)) == len(head), run["part"]
        assert len(headline(run)) > 10


def test_the_number_of_items_can_be_chosen(suite: Suite) -> None:
    result = json.loads(suite.gallery(120).read_text())
    assert next(run["counted"] for run in result["runs"] if run["part"] == "fill") == 120


def test_a_call_that_fails_ends_the_scenario_with_the_answer(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.scenarios.gallery.GALLERY", "no/such/place")
    with pytest.raises(GatewayError, match="404"):
        suite.gallery()
