"""Starting, watching and stopping a gateway, with a small process in its place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from loadtest.client import Timing
from loadtest.gateway import GatewayError, process_usage, running_gateway
from loadtest.images import make_jpegs, read_samples
from loadtest.payload import Question
from loadtest.scenarios.bench import Bench, gateway_info
from loadtest.scenarios.load import Case, closed, open_

STUB = (sys.executable, "-m", "tests.unit.loadtest.stub")
SILENT = (sys.executable, "-c", "import sys; print('no such repository'); sys.exit(3)")
TIMING = Timing(warmup_s=0.1, duration_s=0.4)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, make_jpegs(read_samples(Path("service/playground/samples")), 2), command=STUB)


def test_ready_is_timed_from_the_start_and_the_process_is_gone_afterwards(tmp_path: Path) -> None:
    with running_gateway(tmp_path, {}, STUB) as gateway:
        assert 0.1 <= gateway.ready_s < 20
        usage = gateway.usage()
        assert 1 < usage.rss_mib <= usage.peak_rss_mib < 1000
        assert usage.cpu_s > 0
    with pytest.raises(ProcessLookupError):
        os.kill(gateway.pid, 0)


def test_a_gateway_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(GatewayError, match=r"ended with code 3.*\n.*no such repository"),
        running_gateway(tmp_path, {}, SILENT),
    ):
        pass


def test_usage_counts_children() -> None:
    assert process_usage(os.getpid()).rss_mib > 1


def test_closed_scenario_gives_one_run_per_concurrency(bench: Bench) -> None:
    runs = list(closed(bench, [Case("mean", Question(policy="mean"))], (1, 4), TIMING))
    assert [run["concurrency"] for run in runs] == [1, 4]
    assert min(run["images_per_s"] for run in runs) > 10
    assert runs[0]["latency_ms"]["p50"] >= 2.0
    assert runs[0]["work"]["gflops_per_image"] == 0.5
    assert runs[0]["gateway_peak_rss_mib"] > 1
    assert 0 <= runs[0]["generator_busy_cores"] < 2


def test_open_scenario_offers_shares_of_the_measured_capacity(bench: Bench) -> None:
    runs = list(open_(bench, [Case("mean", Question())], (0.1, 0.2), TIMING, "constant", seed=0))
    assert [run["load"] for run in runs] == [0.1, 0.2]
    assert runs[1]["offered_per_s"] == pytest.approx(2 * runs[0]["offered_per_s"], rel=0.01)
    assert runs[0]["images_per_s"] == pytest.approx(runs[0]["offered_per_s"], rel=0.2)


def test_info_is_what_the_gateway_says_about_itself(bench: Bench) -> None:
    assert gateway_info(bench) == {"zoo": "stub"}
