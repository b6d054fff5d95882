"""Whether a shipped generic controller speaks for the zoo that is served."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from service.errors import RepositoryError
from service.pipeline.committee import combine
from service.pipeline.controller.controller import positive
from service.pipeline.logits import softmax
from service.pipeline.shipped.generic import load_shipped
from service.pipeline.shipped.generic_file import FILE_NAME
from service.repository import Zoo
from tests.support.generic import ship


def test_nothing_shipped_is_nothing(tmp_path: Path, fake_zoo: Zoo) -> None:
    assert load_shipped(tmp_path, fake_zoo) is None


def test_it_speaks_for_the_zoo_that_it_was_judged_with(tmp_path: Path, fake_zoo: Zoo) -> None:
    ship(tmp_path, fake_zoo, strength=3.0)
    shipped = load_shipped(tmp_path, fake_zoo)
    assert shipped is not None
    assert shipped.reason is None
    assert shipped.controller is not None
    assert (shipped.controller.name, shipped.controller.version) == (shipped.name, None)
    assert shipped.name == f"generic@{shipped.file.digest[:12]}"
    logits = np.random.default_rng(0).standard_normal((2, 5, 4), dtype=np.float32)
    embeddings = [np.zeros((5, each.embedding_dim), np.float32) for each in fake_zoo.backbones]
    weights = combine(shipped.controller.controller, fake_zoo.names, embeddings, logits).weights
    assert weights == pytest.approx(positive(3 * softmax(logits).max(axis=2)), rel=1e-5)
    alone = combine(shipped.controller.controller, ["large"], embeddings[1:], logits[1:]).weights
    assert alone == pytest.approx(weights[1:], rel=1e-5), "whoever is left when others fail is weighed as well"


def test_another_zoo_refuses_it_with_the_reason_in_the_log(
    tmp_path: Path, fake_zoo: Zoo, caplog: pytest.LogCaptureFixture
) -> None:
    ship(tmp_path, fake_zoo)
    with caplog.at_level(logging.WARNING):
        shipped = load_shipped(tmp_path, Zoo(fake_zoo.backbones[:1]))
    assert shipped is not None
    assert shipped.controller is None
    assert '"large"' in str(shipped.reason)
    (record,) = caplog.records
    assert "generic controller is not used" in record.getMessage()
    assert (vars(record)["reason"], vars(record)["controller"]) == (shipped.reason, shipped.name)


def test_another_file_has_another_name(tmp_path: Path, fake_zoo: Zoo) -> None:
    names = set()
    for strength in (1.0, 2.0):
        ship(tmp_path, fake_zoo, strength)
        shipped = load_shipped(tmp_path, fake_zoo)
        assert shipped is not None
        names.add(shipped.name)
    assert len(names) == 2


def test_a_broken_file_is_an_error_and_not_nothing(tmp_path: Path, fake_zoo: Zoo) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"?")
    with pytest.raises(RepositoryError, match="damaged"):
        load_shipped(tmp_path, fake_zoo)
