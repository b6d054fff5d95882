"""What is reached without a tower."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.unit.training.evaluate.experts.made_up import better_with_experts, everything, report_of, small_pack
from training.evaluate.experts.findings import Findings
from training.evaluate.experts.measures import CLASSIFICATION, LINEAR_PROBES, SSD
from training.evaluate.experts.tables import main_table
from training.evaluate.experts.trivial import scores_by_place, usual_answer
from training.experts.probes.dense import DenseTask
from training.experts.targets import NO_CLASS, Targets

pytestmark = pytest.mark.torch


def test_every_dense_task_has_a_score_without_a_tower() -> None:
    found = scores_by_place(small_pack())
    assert set(found) == {
        f"{where}/{task}" for where in ("scenes", "composites") for task in ("classes", "depth", "normals")
    }
    assert set(found["scenes/depth"]) == {"abs_rel", "ssi"}
    assert 0 < found["scenes/classes"]["miou"] < 0.5
    assert 0 < found["scenes/normals"]["within_30"] < 1


def test_the_usual_answer_is_the_most_frequent_class_and_the_mean_of_what_is_known() -> None:
    classes = torch.tensor([[[0, 1]], [[0, 1]], [[NO_CLASS, 0]]])
    answer = usual_answer(DenseTask("classes", 2), Targets(classes=classes))
    assert answer.argmax(dim=0).tolist() == [[0, 1]]
    normals = torch.full((2, 3, 1, 1), math.nan)
    normals[0, :, 0, 0] = torch.tensor([0.0, 0.0, -1.0])
    assert usual_answer(DenseTask("normals"), Targets(normals=normals))[:3, 0, 0].tolist() == [0.0, 0.0, -1.0]
    depth = torch.tensor([[[1.0, 2.0, 4.0, 99.0]], [[2.0, 4.0, 8.0, math.nan]]])
    near, middle, far, unknown = usual_answer(DenseTask("depth", cap=10.0), Targets(depth=depth))[0, 0].tolist()
    assert near > middle > far
    assert unknown == 0
    with pytest.raises(ValueError, match="no targets of depth"):
        usual_answer(DenseTask("depth"), Targets(classes=classes))


def test_a_table_says_what_is_reached_without_a_tower_where_that_is_known() -> None:
    report = report_of(everything(better_with_experts, ("main",)))
    blind = {"scenes/classes": {"miou": 0.042}, "scenes/depth": {"abs_rel": 0.15}}
    findings = Findings(replace(report, blind=blind))
    row = main_table(findings, LINEAR_PROBES).splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        "none",
        "the usual answer at every pixel",
        "4.2",
        "0.150",
        "",
        "",
    ]
    assert "usual answer" not in main_table(findings, [SSD, *CLASSIFICATION])
