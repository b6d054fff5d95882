"""Whether shipped retrieval controllers speak for the zoo that is served, and for which galleries."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import RepositoryError
from service.pipeline.controller.controller import weigh
from service.pipeline.shipped.retrieval import load_shipped_retrieval
from service.pipeline.shipped.retrieval_file import FILE_NAME, read_retrieval, write_retrieval
from service.repository import Backbone, Zoo
from tests.support.retrieval import THRESHOLDS, about, controllers_of, ship


def renamed(backbone: Backbone, name: str) -> Backbone:
    return replace(backbone, image=replace(backbone.image, config=replace(backbone.image.config, backbone=name)))


def test_nothing_shipped_is_nothing(tmp_path: Path, fake_zoo: Zoo) -> None:
    assert load_shipped_retrieval(tmp_path, fake_zoo) is None


def test_it_speaks_for_any_of_its_backbones(tmp_path: Path, fake_zoo: Zoo) -> None:
    ship(tmp_path, fake_zoo)
    shipped = load_shipped_retrieval(tmp_path, fake_zoo)
    assert shipped is not None
    assert shipped.reason is None
    assert shipped.name == f"retrieval@{shipped.file.digest[:12]}"
    for names in (["small"], ["large"], ["small", "large"], ["large", "small"]):
        assert shipped.speaks_for(names)
        embeddings = [np.ones((3, {"small": 8, "large": 12}[name]), np.float32) for name in names]
        weights = weigh(shipped.file.controllers["text"], names, embeddings, np.zeros((len(names), 3, 1), np.float32))
        assert weights.shape == (len(names), 3)
    for names in ([], ["tiny"], ["small", "tiny"], ["small", "small"]):
        assert not shipped.speaks_for(names)


def test_further_backbones_are_fine_and_cannot_be_weighed(
    tmp_path: Path, fake_zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    ship(tmp_path, fake_zoo)
    with caplog.at_level(logging.WARNING):
        shipped = load_shipped_retrieval(
            tmp_path, Zoo((*fake_zoo.backbones, renamed(fake_zoo.backbones[0], "further")))
        )
    assert shipped is not None
    assert (shipped.reason, caplog.records) == (None, [])
    assert shipped.speaks_for(["small", "large"])
    assert not shipped.speaks_for(["small", "large", "further"])


def test_a_member_that_is_gone_refuses_it_with_the_reason_in_the_log(
    tmp_path: Path, fake_zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    ship(tmp_path, fake_zoo)
    with caplog.at_level(logging.WARNING):
        shipped = load_shipped_retrieval(tmp_path, Zoo(fake_zoo.backbones[:1]))
    assert shipped is not None
    assert '"large", which it was made with, is not served' in str(shipped.reason)
    assert not shipped.speaks_for(["small"])
    (record,) = caplog.records
    assert "retrieval controllers are not used" in record.getMessage()
    assert (vars(record)["reason"], vars(record)["controller"]) == (shipped.reason, shipped.name)


def test_a_member_of_another_scale_refuses_it(tmp_path: Path, fake_zoo: Zoo) -> None:
    ship(tmp_path, fake_zoo)
    small, large = fake_zoo.backbones
    warmer = replace(large, image=replace(large.image, config=replace(large.image.config, temperature=2.0)))
    shipped = load_shipped_retrieval(tmp_path, Zoo((small, warmer)))
    assert shipped is not None
    assert "temperature" in str(shipped.reason)


def test_widths_that_are_not_the_backbones_own_refuse_it(tmp_path: Path, fake_zoo: Zoo) -> None:
    """Same sum, shared out otherwise: every array has the shape that it should have."""
    swapped = {kind: replace(each, widths=each.widths[::-1]) for kind, each in controllers_of(fake_zoo).items()}
    write_retrieval(tmp_path, swapped, ["small"], THRESHOLDS, about(fake_zoo))
    assert read_retrieval(tmp_path) is not None
    shipped = load_shipped_retrieval(tmp_path, fake_zoo)
    assert shipped is not None
    assert shipped.reason == 'It reads 8 numbers of the backbone "large", which answers 12.'


def test_a_broken_file_is_an_error_and_not_nothing(tmp_path: Path, fake_zoo: Zoo) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"?")
    with pytest.raises(RepositoryError, match="damaged"):
        load_shipped_retrieval(tmp_path, fake_zoo)
