"""Which rows the temperature of an exported backbone comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import training.export.temperature as module
from tests.unit.training.export.conftest import Exported
from training.data.sources import available_sources, read_rows
from training.data.splits import Split
from training.evaluate.tasks import Task, labelled_tasks
from training.export.errors import ExportError

pytestmark = pytest.mark.torch

Asked = list[Sequence[Task]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The tasks of every fit, which is left out."""
    heard: Asked = []

    def temperature_on(_: Any, __: Any, tasks: Sequence[Task], *, logit_scale: float) -> float:
        heard.append(tasks)
        return logit_scale

    monkeypatch.setattr(module, "temperature_on", temperature_on)
    return heard


def rows_of(tasks: Sequence[Task]) -> dict[str, list[bytes]]:
    return {task.source: [row.image for row in task.rows] for task in tasks}


def rows_in(data: Path, split: Split, *sources: str) -> dict[str, list[bytes]]:
    tasks = labelled_tasks(list(read_rows(data, available_sources(data))), split)
    return rows_of([task for task in tasks if task.source in sources])


def test_it_is_fitted_on_sources_that_are_not_reserved(exported: Exported, small_data: Path, asked: Asked) -> None:
    module.temperature_fitter((small_data,))(exported.backbone, exported.graphs)
    assert [rows_of(tasks) for tasks in asked] == [rows_in(small_data, Split.FIT, "things", "objects")]


def test_that_of_a_variant_is_fitted_on_held_out_rows_of_its_own_sources(
    exported: Exported, small_data: Path, asked: Asked
) -> None:
    variant = replace(exported.backbone, adapted_to=("clothing", "scenes"))
    module.temperature_fitter((small_data,))(variant, exported.graphs)
    (tasks,) = asked
    assert rows_of(tasks) == rows_in(small_data, Split.CALIBRATE, "clothing")
    assert not set(rows_of(tasks)["clothing"]) & set(rows_in(small_data, Split.FIT, "clothing")["clothing"])


def test_a_variant_of_sources_without_labels_has_the_usual_rows(
    exported: Exported, small_data: Path, asked: Asked
) -> None:
    module.temperature_fitter((small_data,))(replace(exported.backbone, adapted_to=("scenes",)), exported.graphs)
    assert [rows_of(tasks) for tasks in asked] == [rows_in(small_data, Split.FIT, "things", "objects")]


def test_without_a_labelled_row_it_is_said(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_sources", lambda _: ("scenes", "clothing"))
    with pytest.raises(ExportError, match="nothing to fit a temperature on"):
        module.temperature_fitter((small_data,))
