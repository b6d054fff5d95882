"""The zoo suite on tiny data and tiny backbones, from the command to the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from service.pipeline.labels import DEFAULT_TEMPLATES
from service.repository import load_zoo
from tests.support.repository import Spec, write_repository
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.evaluate.embedder import open_backbone
from training.evaluate.members import open_members
from training.evaluate.suites.zoo import evaluate, task_logits
from training.evaluate.suites.zoo_report import ZooReport, load_report
from training.evaluate.tasks import labelled_tasks
from training.evaluate.zero_shot import task_logits as plain_logits

pytestmark = pytest.mark.torch

SPECS = (Spec("small", gflops=0.25), Spec("middle", 40, 10, 0.5), Spec("large", 48, 12, 1.5))
CARD = """By hand.

<!-- written by evaluate: backbones -->
<!-- end of backbones -->

<!-- written by evaluate: accuracy -->
what was here before
<!-- end of accuracy -->
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three backbones and a model card."""
    root = write_repository(tmp_path_factory.mktemp("zoo") / "repository", SPECS)
    (root / "README.md").write_text(CARD)
    return root


@pytest.fixture(scope="module")
def evaluated(small_data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """What the command said, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("evaluated")
    out, cache = folder / "out", folder / "cache"
    arguments = ["evaluate", "--suite", "zoo", "--data", str(small_data), "--repository", str(repository)]
    return CliRunner().invoke(app, [*arguments, "--out", str(out), "--cache", str(cache)]), out


@pytest.fixture(scope="module")
def report(evaluated: tuple[Result, Path]) -> ZooReport:
    return load_report(evaluated[1] / "zoo.json")


def test_the_command_prints_the_tables_and_writes_them_with_plots(evaluated: tuple[Result, Path]) -> None:
    result, out = evaluated
    assert result.exit_code == 0, result.output
    assert result.stdout == (out / "README.md").read_text() + "\n"
    assert {path.name for path in out.iterdir()} == {"README.md", "zoo.json", "accuracy.png", "alone.png", "pairs.png"}
    assert all(path.stat().st_size > 0 for path in out.iterdir())


def test_the_card_in_the_repository_is_brought_up_to_date(evaluated: tuple[Result, Path], repository: Path) -> None:
    assert evaluated[0].exit_code == 0
    card = (repository / "README.md").read_text()
    assert card.startswith("By hand.\n")
    assert "what was here before" not in card
    assert "| `small` | projection |" in card
    assert "| things" in card


def test_every_source_is_measured_once(report: ZooReport) -> None:
    assert [task.task for task in report.tasks] == ["clothing", "objects", "things", "scenes"]
    assert [task.novelty for task in report.labelled] == ["unseen source", "seen classes", "seen classes"]
    assert [measure.name for measure in report.retrieval[0].measures] == [
        f"{direction} R@{k}" for direction in ("text to image", "image to text") for k in (1, 5, 10)
    ]


def test_scores_are_shares_inside_their_intervals(report: ZooReport) -> None:
    for measure in (measure for task in report.tasks for measure in task.measures):
        scores = [*measure.scores.values(), *measure.committees.values(), measure.oracle, measure.only_one]
        assert all(0 <= score.low <= score.value <= score.high <= 1 for score in scores)
        assert measure.oracle.value >= max(score.value for score in measure.scores.values())
        assert measure.oracle_shuffled >= measure.scores[measure.best].value - 1e-4
        assert sum(alone.share.value for alone in measure.alone.values()) == pytest.approx(
            measure.only_one.value, abs=1e-3
        )


def test_recall_grows_with_the_length_of_the_list(report: ZooReport) -> None:
    (scenes,) = report.retrieval
    for first, longer in zip(scenes.measures, scenes.measures[1:], strict=False):
        if longer.name.rpartition("@")[2] != "1":
            assert all(longer.scores[name].value >= first.scores[name].value for name in first.scores)


def test_backbones_whose_provenance_names_no_sources_are_marked_unknown(report: ZooReport) -> None:
    assert all(facts.trained_on is None for facts in report.backbones.values())
    assert all(seen is None for task in report.tasks for seen in task.trained_on.values())


def test_means_are_those_of_the_tasks(report: ZooReport) -> None:
    every = report.aggregates[0]
    assert every.tasks == ("clothing", "objects", "things")
    for name, score in every.backbones.items():
        expected = np.mean([task.measures[0].scores[name].value for task in report.labelled])
        assert score.value == pytest.approx(expected, abs=1e-4)
    assert {aggregate.group for aggregate in report.aggregates} == {
        "labelled tasks",
        "seen classes",
        "unseen source",
        "labelled tasks and retrieval",
    }


def test_committees_are_every_pair_and_all_under_each_policy(report: ZooReport) -> None:
    found = [(committee.members, committee.policy) for committee in report.committees]
    assert found == [
        (("small", "middle"), "mean"),
        (("small", "large"), "mean"),
        (("middle", "large"), "mean"),
        (("small", "middle", "large"), "mean"),
        (("small", "middle", "large"), "mean_logit"),
        (("small", "middle", "large"), "vote"),
    ]
    assert report.committees[0].gflops == 0.75


def test_logits_are_those_of_the_exported_towers(small_data: Path, repository: Path, tmp_path: Path) -> None:
    zoo = load_zoo(repository)
    task = labelled_tasks(read_rows(small_data, available_sources(small_data)), Split.TEST)[1]
    stacked = task_logits(open_members(zoo, tmp_path), task)
    for logits, backbone in zip(stacked, zoo.backbones, strict=True):
        expected = plain_logits(
            open_backbone(backbone),
            backbone.preprocessing,
            task,
            logit_scale=backbone.logit_scale,
            temperature=backbone.temperature,
        )
        assert np.array_equal(logits, expected)


def test_the_order_of_backbones_does_not_matter(small_data: Path, repository: Path, tmp_path: Path) -> None:
    zoo = load_zoo(repository)
    members = open_members(zoo, tmp_path)
    forwards, backwards = (
        evaluate(small_data, zoo, order, lambda _: None) for order in (members, tuple(reversed(members)))
    )
    for one, other in zip(forwards.aggregates, backwards.aggregates, strict=True):
        assert one.choice == other.choice
        assert one.oracle == other.oracle
    for first, second in zip(forwards.tasks, backwards.tasks, strict=True):
        for measure, turned in zip(first.measures, second.measures, strict=True):
            assert measure.scores == turned.scores
            assert measure.best == turned.best
            assert measure.oracle_shuffled == pytest.approx(turned.oracle_shuffled)
            assert np.allclose(np.array(measure.one_right)[::-1, ::-1], turned.one_right)


def test_captions_alone_are_enough(repository: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_source(data, "only", [Item(i, captions=(f"number {i}",), split="test") for i in range(12)])
    result = _run(["--data", str(data), "--repository", str(repository), "--out", str(tmp_path / "out")], tmp_path)
    assert result.exit_code == 0, result.output
    assert "## Retrieval" in result.stdout
    assert "](accuracy.png)" not in result.stdout


def test_a_zoo_of_one_is_measured_as_well(small_data: Path, tmp_path: Path) -> None:
    repository, out = write_repository(tmp_path / "repository", SPECS[:1]), tmp_path / "out"
    result = _run(["--data", str(small_data), "--repository", str(repository), "--out", str(out)], tmp_path)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"README.md", "zoo.json", "accuracy.png", "alone.png"}
    assert "pairs.png" not in result.stdout
    for task in load_report(out / "zoo.json").labelled:
        (measure,) = task.measures
        assert measure.oracle == measure.scores["small"] == measure.committees["vote"]


def test_several_folders_may_be_given(repository: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        items = [Item(i, label="ab"[i % 2], split="test" if i < 4 else "train") for i in range(8)]
        write_source(tmp_path / name, name, items)
    folders = ["--data", str(tmp_path / "one"), "--data", str(tmp_path / "two")]
    result = _run([*folders, "--repository", str(repository), "--out", str(tmp_path / "out")], tmp_path)
    assert result.exit_code == 0, result.output
    assert [task.task for task in load_report(tmp_path / "out" / "zoo.json").tasks] == ["one", "two"]


def test_photographs_are_asked_about_as_by_a_plain_request(report: ZooReport) -> None:
    assert report.templates == {"photo": DEFAULT_TEMPLATES}


def test_a_missing_repository_is_one_sentence(small_data: Path, tmp_path: Path) -> None:
    _is_one_sentence(_run(["--data", str(small_data), "--repository", str(tmp_path / "none")], tmp_path))


def test_a_folder_without_data_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    _is_one_sentence(_run(["--data", str(tmp_path / "none"), "--repository", str(repository)], tmp_path))


def test_a_missing_card_is_one_sentence(small_data: Path, repository: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(small_data), "--repository", str(repository), "--out", str(tmp_path / "out")]
    _is_one_sentence(_run([*arguments, "--card", str(tmp_path / "none.md")], tmp_path))


def _run(arguments: list[str], folder: Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments, "--cache", str(folder / "cache")])


def _is_one_sentence(result: Result) -> None:
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.output
