"""The cluster's scenario on stubs: what is compared with what, and what the page shows of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from loadtest import render, results, servers
from loadtest.gateway import GatewayError
from loadtest.scenarios import cluster
from tests.unit.loadtest.conftest import suite_of

ROUNDS, CONCURRENCIES = 4, (1, 2)


@contextmanager
def last_of(ports: Sequence[int]) -> Iterator[tuple[int, int]]:
    """A proxy that is its last gateway."""
    yield os.getpid(), ports[-1]


@pytest.fixture(scope="module")
def runs(fake_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(servers, "TRITON", Path("tests/unit/loadtest/triton_stub.py"))
        patch.setattr(cluster, "running_redis", lambda _: nullcontext("redis://127.0.0.1:1/0"))
        patch.setattr(cluster, "running_proxy", last_of)
        path = suite_of(fake_repository, out).cluster()
    page = render.render(results.read_all(out))
    assert f"[{path.name}]({path.name})" in page
    assert "## Several processes" in page
    found: list[dict[str, Any]] = json.loads(path.read_text())["runs"]
    return found


def test_every_part_is_measured_and_shown(runs: list[dict[str, Any]]) -> None:
    parts = [run["part"] for run in runs]
    assert parts.count("overhead") == 2  # backbones
    assert parts.count("load") == 2 * len(CONCURRENCIES)
    assert [run["tier"] for run in runs if run["part"] == "cache"] == ["memory", "redis", "none"]
    assert parts.count("gateways") == 4


def test_the_difference_between_engines_is_taken_image_by_image(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        if run["part"] == "overhead":
            assert run["rounds"] == ROUNDS
            # Two stubs that sleep alike.
            assert abs(run["difference_ms"]["median"]) < run["embedded_ms"]["p50"]


def test_batches_are_those_of_image_towers_alone(runs: list[dict[str, Any]]) -> None:
    loads = [run for run in runs if run["part"] == "load"]
    assert [run["triton"]["rows_per_batch"] for run in loads] == [3.0] * len(loads)
    assert [run["embedded"]["rows_per_batch"] for run in loads] == [None] * len(loads)  # a stub that counts nothing


def test_ratios_compare_what_ran_under_the_same_load(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        if run["part"] == "gateways":
            one, two = (
                run["arrangements"][name]["images_per_s"] for name in ("one behind HAProxy", "two behind HAProxy")
            )
            assert run["two_to_one"] == pytest.approx(two / max(one, 1e-9), rel=0.02, abs=0.01)
        if run["part"] == "load":
            sides = run["triton"]["images_per_s"] / max(run["embedded"]["images_per_s"], 1e-9)
            assert run["triton_to_embedded"] == pytest.approx(sides, rel=0.02, abs=0.01)


def test_a_missing_program_is_named_with_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(GatewayError, match="Debian's package haproxy"), servers.running_proxy([1]):
        pass


def test_sums_are_told_by_model_and_by_whole_name() -> None:
    page = 'a_count{model="x",version="1"} 3\na_count_more{model="x"} 9\na_count{model="y"} 4.5\n'
    assert servers.sums_by_model(page, "a_count") == {"x": 3.0, "y": 4.5}
