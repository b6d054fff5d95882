"""Folders of labels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.experts.errors import ExpertError
from training.experts.labels.encoding import encode
from training.experts.labels.store import Description, LabelStore, Outcome, claim_folder, write_part
from training.experts.protocol import UNKNOWN_CLASS, Dense, Identity, Kind

pytestmark = pytest.mark.torch


def _description(kind: Kind = Kind.CLASSES, size: int = 4) -> Description:
    return Description(Identity("made-up", "1", "ab" * 32, kind, ("background", "ball")), "shortest-4-bicubic", size)


def _outcome(digest: str, label: Dense, kind: Kind = Kind.CLASSES) -> Outcome:
    return Outcome(digest, encode(kind, label))


def _filled(value: int) -> Dense:
    return np.full((4, 4), value, np.uint8)


def test_maps_come_in_the_order_that_was_asked_for_out_of_several_files(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    write_part(tmp_path, (0, 2), [_outcome("a", _filled(1)), _outcome("b", _filled(2))])
    write_part(tmp_path, (1, 2), [_outcome("c", _filled(3))])
    write_part(tmp_path, (0, 2), [_outcome("d", _filled(4))])
    store = LabelStore(tmp_path)
    assert len(store) == 4
    assert "a" in store
    assert "e" not in store
    assert store.description == _description()
    assert store.maps(["d", "b", "c", "a", "b"])[:, 0, 0].tolist() == [4, 2, 3, 1, 2]


@pytest.mark.parametrize("kind", Kind)
def test_an_image_without_a_label_is_unknown_at_every_pixel(tmp_path: Path, kind: Kind) -> None:
    claim_folder(tmp_path, _description(kind))
    write_part(tmp_path, (0, 1), [Outcome("a", None, "ValueError: no")])
    found = LabelStore(tmp_path).maps(["a", "never seen"])
    assert found.shape == ((2, 4, 4, 3) if kind is Kind.NORMALS else (2, 4, 4))
    assert (found == UNKNOWN_CLASS).all() if kind is Kind.CLASSES else np.isnan(found).all()


@pytest.mark.parametrize("kind", [Kind.DEPTH, Kind.DISPARITY, Kind.NORMALS])
def test_depth_and_normals_are_kept(tmp_path: Path, kind: Kind) -> None:
    label = np.zeros((4, 4, 3), np.float32) if kind is Kind.NORMALS else np.linspace(1, 2, 16, dtype=np.float32)
    if kind is Kind.NORMALS:
        label[..., 2] = -1
    label = label.reshape((4, 4, -1)).squeeze()
    claim_folder(tmp_path, _description(kind))
    write_part(tmp_path, (0, 1), [_outcome("a", label, kind)])
    assert np.allclose(LabelStore(tmp_path).maps(["a"])[0], label, atol=1e-4)


def test_labels_of_an_earlier_form_are_refused(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    (tmp_path / "part-000-of-001-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ExpertError, match="labels of an earlier form"):
        LabelStore(tmp_path)


def test_labels_are_found_once_and_read_one_by_one(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    for value in range(5):
        write_part(tmp_path, (0, 1), [_outcome(f"{value}" * 64, _filled(value)), Outcome(f"f{value}", None, "no")])
    store = LabelStore(tmp_path)
    places = store.find(["3" * 64, "f1", "1" * 64, "absent"])
    assert (places >= 0).tolist() == [True, False, True, False]
    assert [int(store.at(places[n : n + 1])[0, 0, 0]) for n in range(4)] == [3, UNKNOWN_CLASS, 1, UNKNOWN_CLASS]
    assert store.digests == {f"{value}" * 64 for value in range(5)}


def test_failures_are_listed_until_an_image_has_a_label(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    write_part(tmp_path, (0, 1), [Outcome("a", None, "no"), Outcome("b", None, "neither")])
    assert LabelStore(tmp_path).failures == {"a": "no", "b": "neither"}
    write_part(tmp_path, (0, 1), [_outcome("b", _filled(1))])
    store = LabelStore(tmp_path)
    assert store.failures == {"a": "no"}
    assert store.digests == {"b"}


def test_the_same_expert_may_come_back(tmp_path: Path) -> None:
    claim_folder(tmp_path / "labels", _description())
    claim_folder(tmp_path / "labels", _description())


@pytest.mark.parametrize(
    "other",
    [
        replace(_description(), size=8),
        replace(_description(), geometry="squash-4-bicubic"),
        replace(_description(), identity=replace(_description().identity, digest="cd" * 32)),
        replace(_description(), identity=replace(_description().identity, version="2")),
    ],
)
def test_a_folder_belongs_to_one_expert_and_one_way_to_cut_pictures(tmp_path: Path, other: Description) -> None:
    claim_folder(tmp_path, _description())
    with pytest.raises(ExpertError, match="give another folder"):
        claim_folder(tmp_path, other)


def test_a_folder_without_labels_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExpertError, match="no labels here"):
        LabelStore(tmp_path)
    (tmp_path / "expert.json").write_text('{"identity": 3}')
    with pytest.raises(ExpertError, match="not the description of an expert"):
        LabelStore(tmp_path)


def test_a_file_of_something_else_is_one_sentence(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    (tmp_path / "part-000-of-001-00000.arrow").write_bytes(b"nothing of the kind")
    with pytest.raises(ExpertError, match="not a file of labels"):
        LabelStore(tmp_path)


def test_what_a_kill_left_half_written_is_not_read(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    (tmp_path / "part-000-of-001-00000.arrow.partial").write_bytes(b"ARROW1 and then nothing")
    assert len(LabelStore(tmp_path)) == 0
    path = write_part(tmp_path, (0, 1), [_outcome("a", _filled(1))])
    assert path.name == "part-000-of-001-00000.arrow"
    assert len(LabelStore(tmp_path)) == 1


def test_processes_that_begin_at_once_claim_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of eight shards claims it in the same moment."""
    replaced = os.replace

    def another_first(source: Path, target: Path) -> None:
        monkeypatch.setattr("training.experts.labels.store.os.replace", replaced)
        claim_folder(tmp_path, _description())
        replaced(source, target)

    monkeypatch.setattr("training.experts.labels.store.os.replace", another_first)
    claim_folder(tmp_path, _description())
    assert LabelStore(tmp_path).description == _description()
    assert [path.name for path in tmp_path.iterdir()] == ["expert.json"]


def test_a_map_of_another_size_than_the_description_says_is_refused(tmp_path: Path) -> None:
    claim_folder(tmp_path, _description())
    write_part(tmp_path, (0, 1), [_outcome("a", np.zeros((1, 1), np.uint8))])
    with pytest.raises(ExpertError, match=r"a map of \[1, 1\] where expert\.json says \[4, 4\]; label again"):
        LabelStore(tmp_path).maps(["a"])
