"""Whole scenarios on tiny towers and a stub gateway: what is written, and the page that is made of it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from typer.testing import CliRunner

from loadtest import render, results
from loadtest.cli import app
from loadtest.suite import Suite

PACKAGE = Path(render.__file__).parent


def test_every_scenario_writes_one_described_file_and_the_page_shows_it(suite: Suite, tmp_path: Path) -> None:
    paths = [suite.startup(), suite.overhead(), suite.throughput(), suite.closed(["mean", "mean-cached", "single"])]
    paths += [suite.open_(["mean"], "constant", 0), suite.gallery()]
    for path in paths:
        result = json.loads(path.read_text())
        assert result["runs"]
        assert {"cpu", "cores", "memory_gib", "os"} <= set(result["machine"])
        assert {"python", "onnxruntime", "numpy"} <= set(result["versions"])
        assert result["zoo"]["backbones"] == ["large", "small"]
        assert result["zoo"]["info"] == {"zoo": "stub"}
        assert result["settings"]["session_threads"] == 1
    page = render.render(results.read_all(tmp_path))
    for path in paths:
        assert f"[{path.name}]({path.name})" in page
    for scenario, title in render.TITLES.items():
        # Those that need other servers have test files of their own.
        assert (f"## {title}" in page) == (scenario not in ("cluster", "faults"))
    assert render.write_page(tmp_path).read_text() == page


def test_file_names_say_what_precision_versions_and_machine(suite: Suite) -> None:
    name = suite.startup().name
    assert name.startswith("startup-repository")
    assert "-float32-ort" in name
    assert name.endswith("-cores.json")


def test_overhead_is_the_paired_difference_for_every_backbone(suite: Suite) -> None:
    runs = json.loads(suite.overhead().read_text())["runs"]
    assert [run["backbone"] for run in runs] == ["large", "small"]
    for run in runs:
        # The stub sleeps 2 ms, and its towers do next to nothing.
        assert run["overhead_ms"]["median"] >= 1.5
        assert run["post_ms"]["p50"] > run["session_run_ms"]["p50"]


def test_throughput_is_a_share_of_the_fastest_raw_layout(suite: Suite) -> None:
    (run,) = json.loads(suite.throughput().read_text())["runs"]
    assert len(run["raw_images_per_s"]) == len(run["gateway_images_per_s"]) == 2
    assert run["baseline"] == max(run["probed_images_per_s"], key=run["probed_images_per_s"].__getitem__)
    assert 0 < run["share_of_raw"]["median"] < 1
    assert (run["aim_share"], run["aim_met"]) == (None, None)  # no tower of the size that the aim speaks of


def test_rows_have_as_many_cells_as_their_heads(suite: Suite, tmp_path: Path) -> None:
    suite.startup()
    table = [line for line in render.render(results.read_all(tmp_path)).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_a_committed_page_is_the_one_its_results_give() -> None:
    folder = PACKAGE / "results"
    found = results.read_all(folder)
    assert not found or (folder / render.PAGE).read_text() == render.render(found)


def test_a_folder_without_towers_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--repository", str(tmp_path), "--out", str(tmp_path), "startup"])
    assert done.exit_code == 2
    # The message stands in a box, broken into lines wherever the length of the path wants it.
    assert "holds no image tower" in " ".join(done.output.replace("│", " ").split())


def test_a_gateway_that_does_not_start_is_reported_in_its_own_words(fake_repository: Path, tmp_path: Path) -> None:
    options = ["--repository", str(fake_repository), "--out", str(tmp_path / "new"), "--quick"]
    done = CliRunner().invoke(app, [*options, "--setting", "engine=none", "gallery", "--items", "100"])
    assert done.exit_code == 1
    assert "The gateway ended with code" in done.output
    assert "QUORUM_ENGINE" in done.output


def test_load_tests_import_nothing_of_the_service_or_of_training() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"service", "training", "torch"}, path
