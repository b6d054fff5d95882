from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from service.errors import RepositoryError, UnknownBackboneError
from service.repository import Zoo, load_zoo
from tests.support.repository import Spec, write_repository, write_tokenizer


def test_backbones_come_cheapest_first(fake_zoo: Zoo) -> None:
    assert fake_zoo.names == ("small", "large")
    assert fake_zoo.gflops == pytest.approx(1.75)
    assert fake_zoo.largest_image_size == 48


def test_a_backbone_that_votes_when_asked_is_served_beside_the_committee(tmp_path: Path) -> None:
    specs = [Spec("small", gflops=0.25), Spec("variant", gflops=0.5, votes="when_asked"), Spec("large", gflops=1.5)]
    zoo = load_zoo(write_repository(tmp_path, specs))
    assert zoo.names == ("small", "variant", "large")
    assert (zoo.committee.names, zoo.committee.gflops) == (("small", "large"), 1.75)
    assert zoo.committee.digest == load_zoo(write_repository(tmp_path / "alone", [specs[0], specs[2]])).digest
    assert zoo.select(None) == zoo.committee.backbones
    assert [backbone.name for backbone in zoo.select(["variant", "small"])] == ["small", "variant"]


def test_a_committee_needs_a_member(tmp_path: Path) -> None:
    write_repository(tmp_path, [Spec("variant", votes="when_asked")])
    with pytest.raises(RepositoryError, match=r"quorum\.votes is when_asked for every backbone"):
        load_zoo(tmp_path)


def test_the_digest_of_a_zoo_changes_with_any_tower(fake_zoo: Zoo, tmp_path: Path) -> None:
    other = load_zoo(write_repository(tmp_path, [Spec("small"), Spec("large", embedding_dim=5)]))
    assert other.digest != fake_zoo.digest


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no such folder"):
        load_zoo(tmp_path / "nowhere")


def test_an_empty_folder_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no model folder"):
        load_zoo(tmp_path)


def test_a_missing_model_file_is_named(repository_copy: Path) -> None:
    (repository_copy / "small_image/1/model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"small_image/1/model\.onnx: missing"):
        load_zoo(repository_copy)


def test_a_changed_model_file_is_refused(repository_copy: Path) -> None:
    with (repository_copy / "large_text/1/model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(RepositoryError, match=r"large_text/1/model\.onnx: its sha256 is .* damaged or was replaced"):
        load_zoo(repository_copy)


def test_a_missing_tokenizer_is_named(repository_copy: Path) -> None:
    (repository_copy / "small_text/tokenizer.json").unlink()
    with pytest.raises(RepositoryError, match=r"small_text/tokenizer\.json: missing"):
        load_zoo(repository_copy)


def test_a_backbone_needs_both_towers(repository_copy: Path) -> None:
    shutil.rmtree(repository_copy / "small_text")
    with pytest.raises(RepositoryError, match="small_text: missing"):
        load_zoo(repository_copy)


def test_a_folder_must_carry_its_towers_name(repository_copy: Path) -> None:
    (repository_copy / "small_image").rename(repository_copy / "tiny_image")
    with pytest.raises(RepositoryError, match='must be called "small_image"'):
        load_zoo(repository_copy)


def test_towers_of_one_backbone_must_agree(repository_copy: Path) -> None:
    path = repository_copy / "small_text/config.pbtxt"
    path.write_text(path.read_text().replace('"20.0"', '"21.0"'))
    with pytest.raises(RepositoryError, match=r"quorum\.logit_scale is 21\.0, the image tower of small says 20\.0"):
        load_zoo(repository_copy)


def test_a_changed_tokenizer_changes_the_text_towers_digest(repository_copy: Path, fake_zoo: Zoo) -> None:
    write_tokenizer(repository_copy / "small_text/tokenizer.json", context_length=15)
    changed = load_zoo(repository_copy).backbones[0]
    assert changed.text.digest != fake_zoo.backbones[0].text.digest
    assert changed.image.digest == fake_zoo.backbones[0].image.digest


def test_a_selection_keeps_the_zoos_order(fake_zoo: Zoo) -> None:
    assert [backbone.name for backbone in fake_zoo.select(["large", "small"])] == ["small", "large"]
    assert fake_zoo.select(None) == fake_zoo.backbones


def test_an_unknown_backbone_is_answered_with_the_known_ones(fake_zoo: Zoo) -> None:
    with pytest.raises(UnknownBackboneError, match="This server has: small, large") as caught:
        fake_zoo.select(["medium"])
    assert caught.value.param == "backbones"
