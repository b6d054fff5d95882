"""The variants suite on tiny data and tiny backbones, from the command to the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.model_config import parse_config, render_config
from service.repository import load_zoo
from tests.support.repository import Spec, write_repository
from training.cli import app
from training.evaluate.members import open_members
from training.evaluate.provenance import fitted_sources
from training.evaluate.statistics import Score
from training.evaluate.suites.variants import variants_of
from training.evaluate.suites.variants_report import (
    ELSEWHERE,
    EVERYTHING,
    OWN,
    Compared,
    VariantReport,
    VariantsReport,
    load_report,
)
from training.evaluate.suites.variants_tables import should_vote, verdict
from training.evaluate.suites.zoo_report import BackboneFacts

pytestmark = pytest.mark.torch

SPECS = (
    Spec("small", gflops=0.25),
    Spec("small-msa", embedding_dim=10, gflops=0.3, votes="when_asked"),
    Spec("large", 48, 12, 1.5),
)
FITTED = "trained; adapter msa fitted to 5 images of clothing; 5 epochs; batch 8; seed 0"
EXPERTS = "with experts (segmentation by scene-classes, depth by dpt)"


def fit_on_clothing(repository: Path) -> None:
    for tower in ("image", "text"):
        path = repository / f"small-msa_{tower}" / "config.pbtxt"
        config = parse_config(path.read_text(), str(path))
        path.write_text(render_config(replace(config, provenance=FITTED)))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_repository(tmp_path_factory.mktemp("zoo") / "repository", SPECS)
    fit_on_clothing(root)
    return root


@pytest.fixture(scope="module")
def evaluated(small_data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """What the command said, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("evaluated")
    arguments = ["evaluate", "--suite", "variants", "--data", str(small_data), "--repository", str(repository)]
    return CliRunner().invoke(app, [*arguments, "--out", str(folder / "out"), "--cache", str(folder / "cache")]), (
        folder / "out"
    )


@pytest.fixture(scope="module")
def report(evaluated: tuple[Result, Path]) -> VariantsReport:
    return load_report(evaluated[1] / "variants.json")


def test_the_command_prints_the_tables_and_writes_them(evaluated: tuple[Result, Path]) -> None:
    result, out = evaluated
    assert result.exit_code == 0, result.output
    assert result.stdout == (out / "README.md").read_text() + "\n"
    assert {path.name for path in out.iterdir()} == {"README.md", "variants.json"}


def test_a_variant_is_set_beside_its_base_and_the_committee(report: VariantsReport, repository: Path) -> None:
    (variant,) = report.variants
    assert (variant.name, variant.base, variant.votes) == ("small-msa", "small", "when_asked")
    assert list(report.committee) == ["small", "large"]
    served = load_zoo(repository).backbones[1]
    assert variant.facts.image_sha256 == served.image.config.sha256


def test_every_task_and_every_retrieval_set_is_compared_and_says_whether_it_was_fitted_on(
    report: VariantsReport,
) -> None:
    (variant,) = report.variants
    assert variant.fitted_on == ("clothing",)
    assert [task.task for task in variant.tasks] == ["clothing", "objects", "things", "scenes"]
    assert [task.task for task in variant.tasks if task.fitted] == ["clothing"]
    assert [task.task for task in variant.tasks if task.classes is None] == ["scenes"]
    for task in variant.tasks:
        gain = task.scores.joined.value - task.scores.committee.value
        assert task.scores.gain.value == pytest.approx(gain, abs=2e-4)
        assert task.scores.over_base.value == pytest.approx(task.scores.alone.value - task.scores.base.value, abs=2e-4)


def test_means_are_over_all_tasks_over_its_own_and_over_the_others(report: VariantsReport) -> None:
    (variant,) = report.variants
    assert list(variant.means) == [EVERYTHING, ELSEWHERE, OWN]
    (own,) = [task for task in variant.tasks if task.fitted]
    assert variant.means[OWN] == own.scores
    others = [task.scores.alone.value for task in variant.tasks if not task.fitted]
    assert variant.means[ELSEWHERE].alone.value == pytest.approx(sum(others) / len(others), abs=2e-4)


@pytest.mark.parametrize(("name", "how"), [("small-cliptex", EXPERTS), ("small-ft", "by captions alone")])
def test_what_was_fine_tuned_is_a_variant_of_what_it_began_with(tmp_path: Path, name: str, how: str) -> None:
    """Also where its pictures are larger, and where another variant has the same base."""
    specs = (*SPECS, Spec(name, image_size=32, gflops=0.6))
    repository = write_repository(tmp_path / "repository", specs)
    said = f"trained; fine-tuned {how} on 5 images of clothing, scenes; 96 pixels; 4 epochs; batch 8; seed 0"
    for tower in ("image", "text"):
        path = repository / f"{name}_{tower}" / "config.pbtxt"
        path.write_text(render_config(replace(parse_config(path.read_text(), str(path)), provenance=said)))
    found = variants_of(open_members(load_zoo(repository), tmp_path / "cache"))
    assert {each.variant.name: each.base.name for each in found} == {"small-msa": "small", name: "small"}
    (variant,) = (each for each in found if each.variant.name == name)
    assert fitted_sources(variant.variant.backbone.image.config.provenance) == {"clothing", "scenes"}
    assert [member.name for member in variant.committee] == ["small", "large"]


def test_a_zoo_without_a_variant_is_told_so(small_data: Path, tmp_path: Path) -> None:
    root = write_repository(tmp_path / "plain")
    arguments = ["evaluate", "--suite", "variants", "--data", str(small_data), "--repository", str(root)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")])
    assert result.exit_code == 1
    assert "no backbone of the repository is a variant" in result.stderr
    assert not (tmp_path / "out").exists()


def _report(**gains: tuple[float, float]) -> VariantReport:
    some = Score(0.5, 0.4, 0.6)
    means = {
        {"everything": EVERYTHING, "elsewhere": ELSEWHERE, "own": OWN}[group]: Compared(
            some, some, some, some, Score((low + high) / 2, low, high), some
        )
        for group, (low, high) in gains.items()
    }
    facts = BackboneFacts("vit", 0.1, 1.0, "a", "b", None)
    return VariantReport("small-msa", "small", "when_asked", facts, ("clothing",), (), means)


@pytest.mark.parametrize(
    ("gains", "votes"),
    [
        ({"everything": (0.01, 0.02), "elsewhere": (-0.01, 0.01)}, True),
        ({"everything": (-0.001, 0.02), "elsewhere": (0.01, 0.02)}, False),
        ({"everything": (0.01, 0.02), "elsewhere": (-0.02, -0.01), "own": (0.02, 0.04)}, False),
    ],
)
def test_it_should_vote_where_the_committee_surely_gains_and_nothing_is_surely_lost(
    gains: dict[str, tuple[float, float]], votes: bool
) -> None:
    report = _report(**gains)
    assert should_vote(report) is votes
    assert ("it should vote by default (rule" in verdict(report)) is votes
