"""`quorum fit`, `calibrate` and what lies around them, as a user types them, without a server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.conftest import LABELS, Photos, Quorum
from tests.support.cli import plain, said
from tests.support.images import jpeg


def sort_as_one_backbone_would(quorum: Quorum, label_set: str, folder: Path) -> None:
    """Into sub-folders, so that this backbone is always right: a controller that listens to it is surely better."""
    images = sorted(folder.iterdir())
    alone = quorum("classify", *images, "--label-set", label_set, "--policy", "single", "--backbone", "small", "--json")
    for image, answer in zip(images, json.loads(alone.stdout)["results"], strict=True):
        inside = folder / answer["predictions"][0]["label"]
        inside.mkdir(exist_ok=True)
        image.rename(inside / image.name)


def test_a_fit_that_is_no_better_is_refused_and_that_is_no_failure(quorum: Quorum, pets: str, photos: Photos) -> None:
    result = quorum("fit", pets, photos(2, *LABELS))
    assert result.exit_code == 0, result.output
    shown = plain(result.stdout)
    assert shown.startswith(
        "Refused: nothing was activated, requests are answered as before. 6 different examples are too few"
    )
    for expected in ("mean of probabilities", "mean of logits", "small", "large"):
        assert expected in shown
    assert "6 different images of 3 of 3 classes, 2 of each, seed 0." in shown
    assert "6 images, " in result.stderr
    assert "Nothing is fitted for it." in quorum("labels", "show", pets).stdout


def test_an_accepted_fit_answers_from_then_on(quorum: Quorum, pets: str, photos: Photos) -> None:
    folder = photos(40)
    sort_as_one_backbone_would(quorum, pets, folder)
    result = quorum("fit", pets, folder)
    assert result.exit_code == 0, result.output
    shown = plain(result.stdout)
    assert shown.startswith("pets/1: accepted.")
    assert re.search(r"the fit \((static|nlc)\) \d", shown)
    assert re.search(r"large \d+\.\d% \+\d+\.\d ± \d+\.\d points", shown)
    answer = plain(quorum("classify", next(folder.glob("*/*")), "--label-set", pets, "--policy", "nlc").stdout)
    assert "nlc under pets/1: small (weight" in answer
    described = plain(quorum("labels", "show", pets).stdout)
    assert "controller 1 active" in described
    assert "does not apply" not in described


def test_a_new_controller_ends_the_promise_and_that_is_said(quorum: Quorum, pets: str, photos: Photos) -> None:
    folder = photos(40)
    assert quorum("calibrate", pets, folder, "--epsilon", "0.3").exit_code == 0
    sort_as_one_backbone_would(quorum, pets, folder)
    result = quorum("fit", pets, folder)
    assert "The cascade does not apply now; `quorum calibrate` makes another. It was calibrated under" in result.stderr


def test_a_fits_json_is_the_ended_job_and_nothing_else(quorum: Quorum, pets: str, photos: Photos) -> None:
    result = quorum("fit", pets, photos(3, *LABELS), "--seed", "5", "--json")
    job = json.loads(result.stdout)
    assert (job["state"], job["kind"]) == ("succeeded", "controller")
    assert isinstance(job["result"]["accepted"], bool)
    assert job["result"]["about"] == {
        "examples": 9,
        "classes": 3,
        "classes_with_examples": 3,
        "shots": [3, 3],
        "seed": 5,
    }
    assert result.stdout.count("\n") == 1
    assert result.exit_code == 0


def test_shots_are_so_many_of_each_class_where_there_are(quorum: Quorum, pets: str, photos: Photos) -> None:
    photos(2, "cat")
    result = quorum("fit", pets, photos(4, "dog", "fox"), "--shots", "3", "--json")
    assert json.loads(result.stdout)["result"]["about"]["shots"] == [2, 3]
    assert "Fewer than 3 different images in 1 class; all of them are taken." in result.stderr


def test_what_is_left_out_is_said(quorum: Quorum, pets: str, photos: Photos) -> None:
    folder = photos(5, "cat", "dog")
    (folder / "readme.md").write_text("mine")
    (folder / "loose.jpg").write_bytes(jpeg())
    (folder / "cat" / "notes.txt").write_text("none")
    (folder / "dog" / "broken.jpg").write_bytes(jpeg()[:200])
    result = quorum("fit", pets, folder)
    assert result.exit_code == 0, result.output
    assert f'Left out, no images: "{folder}/readme.md", "{folder}/cat/notes.txt".' in result.stderr
    assert f'Left out, in no class\'s folder: "{folder}/loose.jpg".' in result.stderr
    assert 'No images of 1 of 3 classes: "fox".' in result.stderr
    assert f"1 image could not be read: {folder}/dog/broken.jpg: The image is damaged" in plain(result.stdout)


def test_labels_that_no_header_carries_can_be_fitted(quorum: Quorum, tmp_path: Path, photos: Photos) -> None:
    labels = ['5" nail', "back\\slash", "Käse", "100%25"]
    (tmp_path / "odd.json").write_text(json.dumps(labels))
    assert quorum("labels", "set", "odd", "--file", tmp_path / "odd.json").exit_code == 0
    for chosen in (labels, labels[2:]):
        result = quorum("fit", "odd", photos(4, *chosen, name=f"{len(chosen)}"), "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["result"]["about"]["classes_with_examples"] == len(chosen)


@pytest.mark.parametrize(
    ("classes", "arguments", "sentence"),
    [
        ((), [], "has no sub-folders. Make one for each class, named like its label"),
        (("cat", "Dog"), [], 'not a class of "pets": "Dog" (did you mean "dog"?)'),
        (("cat", "zebra"), [], 'not a class of "pets": "zebra". Sub-folders are named exactly like its 3 labels'),
        (("cat", "dog"), ["--shots", "0"], "--shots"),
        (("cat", "dog"), ["--seed", "-1"], "--seed"),
    ],
)
def test_a_folder_that_cannot_be_fitted_on_is_explained_with_status_2(
    quorum: Quorum, pets: str, photos: Photos, classes: tuple[str, ...], arguments: list[str], sentence: str
) -> None:
    result = quorum("fit", pets, photos(2, *classes), *arguments)
    assert sentence in said(result)
    assert (result.exit_code, result.stdout) == (2, "")


def test_an_empty_class_and_a_contradiction_are_explained(quorum: Quorum, pets: str, photos: Photos) -> None:
    folder = photos(2, "cat", "dog")
    (folder / "fox").mkdir()
    assert 'no images in "fox"' in said(quorum("fit", pets, folder))
    assert 'no images in "fox"' in said(quorum("calibrate", pets, folder))
    (folder / "fox" / "copy.jpg").write_bytes((folder / "cat" / "0.jpg").read_bytes())
    contradiction = quorum("fit", pets, folder)
    assert "are the same image in different classes" in said(contradiction)
    assert contradiction.exit_code == 2


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_a_folder_beyond_the_limits_is_refused_before_it_is_read(
    quorum: Quorum, pets: str, photos: Photos, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(4, *LABELS)

    def read(self: Path) -> bytes:
        raise AssertionError(f"{self} was read")

    monkeypatch.setattr(Path, "read_bytes", read)
    for variable, limit, sentence in (
        ("QUORUM_MAX_JOB_IMAGES", "11", "12 images; one job takes 11 (QUORUM_MAX_JOB_IMAGES)"),
        ("QUORUM_MAX_JOB_BODY_BYTES", "2048", "KiB to send; one job takes 2.0 KiB (QUORUM_MAX_JOB_BODY_BYTES)"),
    ):
        result = quorum(command, pets, folder, **{variable: limit})
        assert sentence in said(result)
        assert ("--shots" if command == "fit" else "--sample") in said(result)
        assert result.exit_code == 2


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_a_missing_label_set_leaves_no_state_behind(
    quorum: Quorum, photos: Photos, command: str, environment: dict[str, str]
) -> None:
    result = quorum(command, "pets", photos(2, *LABELS))
    assert 'There is no label set "pets".' in result.stderr
    assert "quorum labels set" in result.stderr
    assert result.exit_code == 1
    assert not Path(environment["QUORUM_STATE_URL"]).exists()


def test_calibration_images_may_be_unlabelled_or_labelled(quorum: Quorum, pets: str, photos: Photos) -> None:
    unlabelled = quorum("calibrate", pets, photos(40, name="flat"), "--epsilon", "0.3")
    assert unlabelled.exit_code == 0, unlabelled.output
    assert "Images without labels." in unlabelled.stderr
    assert plain(unlabelled.stdout).startswith("pets/1: cascade under the plain mean")
    assert "Promise: with probability 0.9, at most 30% of answers differ" in plain(unlabelled.stdout)
    assert "Accuracy:" not in unlabelled.stdout
    labelled = quorum("calibrate", pets, photos(14, *LABELS), "--epsilon", "0.3", "--delta", "0.2")
    assert "Labelled images, 3 classes." in labelled.stderr
    assert plain(labelled.stdout).startswith("pets/2: cascade under the plain mean")
    assert "Promise: with probability 0.8, at most 30%" in plain(labelled.stdout)
    assert "Accuracy:" in labelled.stdout


def test_too_few_images_are_no_failure_and_it_says_how_many_are_needed(
    quorum: Quorum, pets: str, photos: Photos
) -> None:
    result = quorum("calibrate", pets, photos(5))
    assert result.exit_code == 0, result.output
    assert "at least 227 distinct images are needed that nothing was fitted on, 5 came" in plain(result.stdout)
    assert "Promise:" not in result.stdout


def test_a_sample_of_a_large_folder_is_enough(quorum: Quorum, pets: str, photos: Photos) -> None:
    result = quorum("calibrate", pets, photos(30), "--sample", "20", "--epsilon", "0.5", "--json")
    job = json.loads(result.stdout)
    assert job["result"]["tested"]["images"] + job["result"]["chosen"]["images"] == 20
    assert (job["result"]["epsilon"], job["result"]["delta"]) == (0.5, 0.1)


def test_a_folder_of_both_kinds_is_nobodys_guess(quorum: Quorum, pets: str, photos: Photos) -> None:
    photos(2)
    result = quorum("calibrate", pets, photos(2, "cat"))
    assert 'has images of its own and images in sub-folders ("cat")' in said(result)
    assert result.exit_code == 2


def test_a_folder_without_images_is_explained(quorum: Quorum, pets: str, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "none has no images (JPEG, PNG, WebP, GIF and BMP are read)" in said(
        quorum("calibrate", pets, tmp_path / "none")
    )
    assert "does not exist" in said(quorum("calibrate", pets, tmp_path / "nowhere"))


def test_levels_that_the_api_refuses_are_said_in_its_words(quorum: Quorum, pets: str, photos: Photos) -> None:
    result = quorum("calibrate", pets, photos(3), "--epsilon", "0")
    assert "epsilon: Input should be greater than 0." in result.stderr
    assert result.exit_code == 1
    assert quorum("calibrate", pets, photos(3), "--delta", "2").exit_code == 2


def test_a_calibrated_cascade_answers_and_promises(quorum: Quorum, pets: str, photos: Photos, cat: Path) -> None:
    folder = photos(40)
    before = quorum("classify", cat, "--label-set", pets, "--policy", "cascade")
    assert "No cascade is calibrated" in before.stderr
    assert before.exit_code == 1
    assert quorum("calibrate", pets, folder, "--epsilon", "0.3").exit_code == 0
    answer = plain(quorum("classify", cat, "--label-set", pets, "--policy", "cascade").stdout)
    assert "cascade: " in answer
    assert "with probability 0.9, at most 30% of answers differ from the full committee's" in answer
    capped = plain(quorum("classify", cat, "--label-set", pets, "--max-gflops", "0.3").stdout)
    assert "0.25 of 1.75 GFLOPs" in capped
    assert "large says" not in capped
    assert "no promise" in capped
    sure = plain(quorum("classify", cat, "--label-set", pets, "--min-confidence", "1").stdout)
    assert "no promise" in sure
