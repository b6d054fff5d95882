"""`python -m training retrieval`: what it writes, what it says, and when it writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import training.evaluate.retrieval.shipping as shipping_module
from service.pipeline.controller.examples import Examples
from service.pipeline.controller.ladder import Climbed
from service.pipeline.controller.report import ExamplesSummary, Gain, HeldOut, about_examples, refused
from service.pipeline.controller.scores import score
from service.pipeline.shipped.retrieval import load_shipped_retrieval
from service.pipeline.shipped.retrieval_file import FILE_NAME, QUERY_KINDS, read_retrieval
from service.repository import load_zoo
from tests.support.repository import Spec, write_repository
from tests.support.retrieval import controller_of, ship
from tests.unit.training.tiny_data import Item, write_source
from training.cli import app
from training.evaluate.retrieval.shipping import Recalls, judged_controller, losers

pytestmark = pytest.mark.torch

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources with captions, a reserved one, and one with labels."""
    folder = tmp_path_factory.mktemp("data")
    for number, (source, captions, count) in enumerate((("scenes", 2, 300), ("icons", 1, 250), ("coco_mini", 1, 30))):
        write_source(
            folder,
            source,
            [
                Item(1000 * number + i, captions=tuple(f"{source} {i}, {j}" for j in range(captions)))
                for i in range(count)
            ],
        )
    write_source(folder, "things", [Item(9000 + i, label="apple") for i in range(20)])
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


@pytest.fixture
def run(data: Path, repository: Path, tmp_path: Path) -> Run:
    def command(*arguments: str, folder: Path = data) -> Result:
        paths = ["--repository", str(repository), "--cache", str(tmp_path / "cache")]
        return CliRunner().invoke(app, ["retrieval", "--data", str(folder), *paths, *arguments])

    return command


def accepted_climb(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    """Every climb is accepted with random weights, and no controller falls behind on the calibrate split."""
    controller = controller_of(load_zoo(repository))

    def climb(examples: Examples, seed: int) -> Climbed:
        scores = score(examples.logits.mean(axis=1), examples.truth)
        unfitted = dict.fromkeys(("mean", "mean_logit", "backbone large", "backbone small"), scores)
        report = refused(about_examples(examples, seed), unfitted, scores, ())
        held_out = HeldOut(0.75, 1.0)
        report = replace(
            report,
            rung="nlc",
            accepted=True,
            strength=0.1,
            held_out=held_out,
            gain_over_unfitted={"mean": Gain(0.1, 0)},
        )
        return Climbed(controller, report)

    monkeypatch.setattr(shipping_module, "climb", climb)
    monkeypatch.setattr(shipping_module, "losers", lambda _: [])


def test_winners_are_written_with_where_they_come_from(
    run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted_climb(monkeypatch, repository)
    result = run("--seed", "5")
    assert result.exit_code == 0, result.output
    assert "Both controllers beat the mean of logits" in result.stdout
    assert "| text to image | icons |" in result.stdout
    zoo = load_zoo(repository)
    shipped = load_shipped_retrieval(repository, zoo)
    assert shipped is not None
    assert shipped.speaks_for(zoo.names)
    about = shipped.file.about
    assert about.seed == 5
    assert [source.name for source in about.sources] == ["icons", "scenes"], "neither reserved nor labelled ones"
    assert all(source.fit_sha256 != source.calibrate_sha256 for source in about.sources)
    assert [source.captions // source.fit_pictures for source in about.sources] == [1, 2]
    assert len(shipped.file.prefix) == 1
    assert {kind: judged.accuracy for kind, judged in about.controllers.items()} == {"text": 0.75, "image": 0.75}
    written = (repository / FILE_NAME).read_bytes()
    assert run("--seed", "5").exit_code == 0
    assert (repository / FILE_NAME).read_bytes() == written, "the same data and seed give the same file"


def test_embeddings_of_noise_carry_nothing_and_an_older_file_goes(run: Run, repository: Path) -> None:
    first = run()
    assert first.exit_code == 0, first.output
    assert "Nothing is written." in first.stdout
    assert "No fit predicted held-out labels better than the probability mean." in first.stdout
    ship(repository, load_zoo(repository))
    second = run()
    assert second.exit_code == 0
    assert "which lay there, is removed" in second.stdout
    assert not (repository / FILE_NAME).exists()
    assert read_retrieval(repository) is None


def test_a_controller_behind_the_mean_on_the_calibrate_split_is_refused(
    run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted_climb(monkeypatch, repository)
    monkeypatch.setattr(shipping_module, "losers", lambda _: ["text to image: it fell behind."])
    result = run()
    assert result.exit_code == 0, result.output
    assert "- text to image: it fell behind." in result.stdout
    assert not (repository / FILE_NAME).exists()


def test_sources_count_the_same_when_recalls_are_compared() -> None:
    def found(nlc: float, mean: float, source: str) -> list[Recalls]:
        return [Recalls(kind, source, "large", 0.0, mean, nlc, 0.0) for kind in QUERY_KINDS]

    assert not losers([*found(0.50, 0.40, "scenes"), *found(0.10, 0.15, "icons")])
    assert not losers(found(0.50, 0.50, "scenes"))
    (text, image) = losers([*found(0.50, 0.49, "scenes"), *found(0.10, 0.15, "icons")])
    assert text == "text to image: recall at 10 was 30.0 %, that of the mean of logits 32.0 %."
    assert image.startswith("image to text: ")


def test_a_refused_fit_is_not_described_as_one() -> None:
    scores = score(np.eye(8, dtype=np.float32), np.arange(8))
    about = ExamplesSummary(examples=8, classes=8, classes_with_examples=8, shots=(1, 1), seed=0)
    with pytest.raises(ValueError, match="refused"):
        judged_controller(refused(about, {"mean": scores, "mean_logit": scores}, None, ("no",)), [])


def test_no_source_is_one_sentence(run: Run, tmp_path: Path, repository: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    write_source(folder, "things", [Item(i, label="apple") for i in range(50)])
    result = run(folder=folder)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no source of pictures with captions")
    assert result.stderr.count("\n") == 1
    assert not (repository / FILE_NAME).exists()


def test_one_backbone_is_one_sentence(run: Run, tmp_path: Path) -> None:
    alone = write_repository(tmp_path / "alone", [Spec("small")])
    result = run("--repository", str(alone))
    assert result.exit_code == 1
    assert "one backbone only" in result.stderr


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(app, ["retrieval", "--help"])
    assert result.exit_code == 0
    assert "only if both beat the mean" in " ".join(result.stdout.split())
