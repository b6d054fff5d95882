"""Sections that ask the towers themselves: forms with raw features, and pictures made worse."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from pydantic import TypeAdapter

from service.pipeline.controller.fit import Schedule
from service.pipeline.logits import unit_rows
from service.repository import load_zoo
from tests.support.repository import Spec, write_repository
from tests.unit.training.evaluate.committee.made_up_pools import row, task, width_of
from training.evaluate.committee import ablations
from training.evaluate.committee.ablations import (
    FORMS,
    RAW,
    SERVED,
    AblationReport,
    ablations_table,
    measure_ablations,
    missing_raw,
)
from training.evaluate.committee.ablations_plots import plot_ablations
from training.evaluate.committee.corruptions import CORRUPTIONS, STRENGTHS, VARIANTS
from training.evaluate.committee.pools import TaskPools
from training.evaluate.committee.raw_features import NoRawFeaturesError, expose_raw, raw_images
from training.evaluate.committee.robustness import (
    NLC,
    VOICES,
    RobustnessReport,
    measure_robustness,
    robustness_table,
    seen,
)
from training.evaluate.committee.robustness_plots import plot_robustness
from training.evaluate.committee.sections import in_this_process
from training.evaluate.committee.units import Unit
from training.evaluate.members import Member, Pictures, open_members

pytestmark = pytest.mark.torch

# As wide as made-up committees are: pools may then be made up while the towers are real.
SPECS = (Spec("left", embedding_dim=24, gflops=0.25), Spec("right", image_size=48, embedding_dim=24, gflops=1.5))


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> tuple[Member, ...]:
    folder = tmp_path_factory.mktemp("zoo")
    return open_members(load_zoo(write_repository(folder / "repository", SPECS)), folder / "cache")


@pytest.fixture(scope="module")
def forms(members: Sequence[Member]) -> AblationReport:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "PAPER", Schedule(2e-4, 40, 64, 0.01))
        return measure_ablations([task("one"), task("two", seed=1)], members, in_this_process)


@pytest.fixture(scope="module")
def worse(members: Sequence[Member]) -> RobustnessReport:
    return measure_robustness([small()], members, in_this_process)


def small() -> TaskPools:
    return task("one", classes=4, fit=4, calibrate=4, test=24)


def test_raw_features_point_where_unit_features_do(members: Sequence[Member]) -> None:
    pictures = Pictures([row(seed) for seed in range(5)])
    for member in members:
        raw = raw_images(member, pictures)
        assert np.allclose(unit_rows(raw), member.images(pictures), atol=1e-6)
        assert np.linalg.norm(raw, axis=1).std() > 0
        assert np.array_equal(raw_images(replace(member), pictures), raw)


def test_a_division_by_the_length_is_undone_as_well() -> None:
    nodes = [
        onnx.helper.make_node("Neg", ["image"], ["raw"]),
        onnx.helper.make_node("ReduceL2", ["raw"], ["length"], axes=[1], keepdims=1),
        onnx.helper.make_node("Div", ["raw", "length"], ["embedding"]),
    ]
    found = expose_raw(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))
    assert [node.op_type for node in found.graph.node] == ["Neg", "ReduceL2"]
    assert found.graph.node[0].output == ["embedding"]
    assert found.graph.node[1].input == ["embedding"]


def test_a_graph_that_ends_otherwise_has_no_raw_features() -> None:
    graph = onnx.GraphProto(node=[onnx.helper.make_node("Tanh", ["image"], ["embedding"])])
    with pytest.raises(NoRawFeaturesError, match="Tanh"):
        expose_raw(onnx.ModelProto(graph=graph))


def test_the_section_says_when_raw_features_cannot_be_had(
    members: Sequence[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: onnx.ModelProto) -> onnx.ModelProto:
        raise NoRawFeaturesError("it ends with Tanh")

    assert missing_raw(members) is None
    monkeypatch.setattr(ablations, "expose_raw", refuse)
    assert missing_raw(members) == "left: it ends with Tanh"
    text = ablations_table(AblationReport((), (), "left: it ends with Tanh"))
    assert "could not be had. left: it ends with Tanh" in text


def test_every_form_is_fitted_and_compared_with_the_served_one(forms: AblationReport) -> None:
    for each in forms.forms:
        assert list(each.accuracy) == list(FORMS)
        assert SERVED not in each.difference
        for name, difference in each.difference.items():
            assert difference.value == pytest.approx(each.accuracy[name].value - each.accuracy[SERVED].value)
        assert each.accuracy[SERVED].value >= each.logit_mean.value - 0.05
    assert list(forms.features[0].difference) == [RAW]


def test_ablations_as_json_table_and_picture(forms: AblationReport, tmp_path: Path) -> None:
    assert TypeAdapter(AblationReport).validate_json(json.dumps(asdict(forms))) == forms
    text = ablations_table(forms)
    assert all(f"| {name} |" in text for name in (*FORMS, RAW))
    plot_ablations(forms, tmp_path / "forms.png")
    assert width_of(tmp_path / "forms.png") > 600


def test_every_variant_is_measured_and_clean_is_its_own_measure(worse: RobustnessReport) -> None:
    (found,) = worse.tasks
    assert [(each.corruption, each.strength) for each in found.variants] == list(VARIANTS)
    assert all(change.value == 0 for change in found.variants[0].change.values())
    assert set(found.variants[0].accuracy) == {"left", "right", *VOICES}
    for each in found.variants:
        assert sum(each.weights.values()) == pytest.approx(1)
        assert sum(each.leads.values()) == pytest.approx(1)
        change = each.accuracy[NLC].value - found.variants[0].accuracy[NLC].value
        assert each.change[NLC].value == pytest.approx(change)


def test_spoilt_pictures_go_through_the_towers_and_clean_ones_as_they_are(members: Sequence[Member]) -> None:
    made = small()
    assert np.array_equal(
        seen(made, members, made.test, "clean", 0).embeddings[0], members[0].images(Pictures(made.test.rows))
    )
    spoilt = seen(made, members, made.test, "contrast", 3).embeddings[0]
    assert not np.allclose(spoilt, members[0].images(Pictures(made.test.rows)), atol=1e-3)


def test_robustness_as_json_table_and_picture(worse: RobustnessReport, tmp_path: Path) -> None:
    assert TypeAdapter(RobustnessReport).validate_json(json.dumps(asdict(worse))) == worse
    text = robustness_table(worse)
    assert all(text.count(f"| {name} {strength} |") == 2 for name in CORRUPTIONS for strength in STRENGTHS)
    plot_robustness(worse, tmp_path / "worse.png")
    assert width_of(tmp_path / "worse.png") > 800
    assert "No task" in robustness_table(RobustnessReport(("left",), ()))


def test_opened_towers_do_not_travel_with_a_unit(members: Sequence[Member]) -> None:
    assert members[0].embedder is not None
    sent: list[bytes] = []

    def run(units: Sequence[Unit]) -> list[object]:
        sent.extend(pickle.dumps(unit) for unit in units)
        return in_this_process(units)

    measure_robustness([small()], members, run)
    assert len(sent) == 1
