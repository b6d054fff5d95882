"""`python -m training generic`: what it writes, what it says, and when it writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import training.evaluate.generic as generic_module
import training.evaluate.shipping as shipping_module
from service.pipeline.logits import backbone_logits, cosines
from service.pipeline.shipped.generic import load_shipped
from service.pipeline.shipped.generic_file import FILE_NAME, read_generic
from service.repository import load_zoo
from tests.support.generic import ship
from tests.support.repository import write_repository
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.data.sources import read_rows
from training.data.splits import Split
from training.evaluate.generic import GenericReport, Judged, Source, fit_generic
from training.evaluate.members import open_members
from training.evaluate.shipping import source_of
from training.evaluate.tasks import labelled_tasks

pytestmark = pytest.mark.torch

WORDS = ("apple", "bear", "chair", "door", "egg", "fish")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled sources with some thirty rows each in the fit split, and one without labels."""
    folder = tmp_path_factory.mktemp("data")
    for number, source in enumerate(("beasts", "clothing", "things")):
        count = 60 if source == "clothing" else 400
        items = [Item(1000 * number + i, label=WORDS[i % (4 + number)]) for i in range(count)]
        write_source(folder, source, items)
    write_source(folder, "scenes", [Item(9000 + i, captions=(f"scene {i}",)) for i in range(20)])
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


@pytest.fixture
def run(data: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(generic_module, "SCHEDULE", replace(generic_module.SCHEDULE, steps=20))

    def command(*arguments: str, folder: Path = data) -> Result:
        paths = ["--repository", str(repository), "--cache", str(tmp_path / "cache")]
        return CliRunner().invoke(app, ["generic", "--data", str(folder), *paths, *arguments])

    return command


def judged_as(monkeypatch: pytest.MonkeyPatch, accuracy: float, loss: float) -> None:
    """Every source is judged to gain this much over the mean, whatever the fits are like."""

    def judge(sources: list[Source], *_: object) -> GenericReport:
        return GenericReport(
            tuple(Judged(each.name, len(each.truth), 0.5 + accuracy, 0.5, 1 - loss, 1.0) for each in sources)
        )

    monkeypatch.setattr(shipping_module, "judge_generic", judge)


def test_a_winner_is_written_with_where_it_comes_from(
    run: Run, repository: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_as(monkeypatch, 0.03, 0.25)
    result = run("--seed", "5")
    assert result.exit_code == 0, result.output
    assert "Mean gain over 3 sources: +3.00 points, +0.2500 nats. It beats the probability mean" in result.stdout
    zoo = load_zoo(repository)
    found = read_generic(repository)
    assert found is not None
    assert found.about.seed == 5
    assert [source.name for source in found.about.sources] == ["beasts", "clothing", "things"]
    assert [source.classes for source in found.about.sources] == [4, 5, 6]
    assert len({source.rows_sha256 for source in found.about.sources}) == 3
    tasks = labelled_tasks(read_rows(data, ("beasts", "clothing", "things")), Split.FIT)
    members = open_members(zoo, tmp_path / "cache")
    fitted = fit_generic([source_of(members, task) for task in tasks], 5)
    assert np.array_equal(found.generic.w1, fitted.w1), "it is the fit on all of them, under the same seed"
    shipped = load_shipped(repository, zoo)
    assert shipped is not None
    assert shipped.controller is not None, "the zoo that it was judged with is served by it"


@pytest.mark.parametrize(("accuracy", "loss"), [(-0.01, 0.1), (0.01, -0.1), (0.0, 0.1)])
def test_a_loser_is_not_written_and_an_older_file_goes(
    run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch, accuracy: float, loss: float
) -> None:
    judged_as(monkeypatch, accuracy, loss)
    first = run()
    assert first.exit_code == 0, first.output
    assert f"{100 * accuracy:+.2f} points, {loss:+.4f} nats. It does not beat" in first.stdout
    assert first.stdout.rstrip().endswith("nothing is written.")
    ship(repository, load_zoo(repository))
    second = run()
    assert second.exit_code == 0
    assert "which lay there, is removed" in second.stdout
    assert not (repository / FILE_NAME).exists()


def test_the_real_judgement_names_every_source_in_a_table(run: Run, repository: Path) -> None:
    """Embeddings of noise teach nothing, so what is decided is left open; that table and file agree is not."""
    result = run()
    assert result.exit_code == 0, result.output
    for source in ("beasts", "clothing", "things"):
        assert f"| {source} | " in result.stdout
        assert f"without {source}\n" in result.stderr
    assert "scenes" not in result.stdout
    assert (repository / FILE_NAME).exists() == ("It beats" in result.stdout)


def test_a_source_is_what_the_gateway_would_see(data: Path, repository: Path, tmp_path: Path) -> None:
    zoo = load_zoo(repository)
    (task,) = labelled_tasks(read_rows(data, ("clothing",)), Split.FIT)
    source = source_of(open_members(zoo, tmp_path / "cache"), task)
    logits = source.logits(np.arange(len(task.rows)), source.class_embeddings)
    for place, backbone in enumerate(zoo.backbones):
        cosine = cosines(source.embeddings[place], source.class_embeddings[place])
        expected = backbone_logits(cosine, backbone.logit_scale, backbone.temperature)
        assert logits[:, place] == pytest.approx(expected, abs=1e-4)


def test_two_sources_are_one_sentence(run: Run, tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for number, source in enumerate(("beasts", "things")):
        write_source(folder, source, [Item(1000 * number + i, label=WORDS[i % 3]) for i in range(200)])
    result = run(folder=folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "3 with labels are needed, 2 have rows in the fit split" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (repository / FILE_NAME).exists()


def test_a_repository_that_is_not_there_is_one_sentence(run: Run, tmp_path: Path) -> None:
    result = run("--repository", str(tmp_path / "nowhere"))
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(app, ["generic", "--help"])
    assert result.exit_code == 0
    assert "only if it beats" in " ".join(result.stdout.split())
