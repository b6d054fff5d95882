"""Controllers and cascades as stored files, and the committee that they are bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from service.pipeline.artefacts import (
    ArtefactError,
    committee_change,
    committee_of,
    fitted_digests,
    pack_cascade,
    pack_controller,
    promise_of,
    unpack_cascade,
    unpack_controller,
)
from service.pipeline.cascade.cascade import NEVER
from service.pipeline.cascade.router import PLAIN_FEATURES, Router
from service.pipeline.controller.controller import Generic
from service.pipeline.controller.opinions import OPINIONS
from service.pipeline.plan import Promise
from service.repository import Backbone, Zoo
from service.stores.base import Artefact, ArtefactContent
from tests.support.fitted import about, cascade_content, controller_content, damaged, in_order, reading, trio

DIGESTS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(3)]


def stored(content: ArtefactContent, **fields: Any) -> Artefact:
    return Artefact(about(content.metadata, **fields), content.tensors)


def generic() -> Generic:
    rng = np.random.default_rng(1)
    shapes = ((5, OPINIONS), (5,), (1, 5), (1,))
    return Generic(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


@pytest.mark.parametrize("with_generic", [False, True])
def test_a_controller_comes_back_as_it_was(fake_zoo: Zoo, with_generic: bool) -> None:
    controller = reading(fake_zoo.backbones)
    controller = replace(controller, generic=generic() if with_generic else None, any_subset=False)
    artefact = stored(pack_controller(controller, fake_zoo.backbones, DIGESTS, {"rung": "nlc"}))
    back = unpack_controller(artefact)
    assert (back.backbones, back.widths, back.any_subset) == (("small", "large"), (8, 12), False)
    for name in ("w1", "c1", "w2", "c2"):
        assert np.array_equal(getattr(back, name), getattr(controller, name))
        if with_generic:
            assert np.array_equal(getattr(back.generic, name), getattr(controller.generic, name))
    assert (back.generic is None) == (not with_generic)
    assert fitted_digests(artefact) == frozenset(DIGESTS)
    assert artefact.about.metadata["about"] == {"rung": "nlc"}


def test_a_controller_may_have_an_order_of_backbones_of_its_own(fake_zoo: Zoo) -> None:
    controller = reading(fake_zoo.backbones[::-1])
    artefact = stored(pack_controller(controller, fake_zoo.backbones, DIGESTS, {}))
    assert unpack_controller(artefact).backbones == ("large", "small")


def test_a_controller_fitted_on_nothing_leaves_nothing_out(fake_zoo: Zoo) -> None:
    assert fitted_digests(stored(controller_content(fake_zoo, 1.0, 2.0))) == frozenset()


@pytest.mark.parametrize("thresholds", [(), (0.75,), (NEVER,)])
def test_a_cascade_comes_back_as_it_was(fake_zoo: Zoo, thresholds: tuple[float, ...]) -> None:
    cascade = in_order(fake_zoo.backbones, *thresholds, exit_score="margin")
    content = pack_cascade(cascade, fake_zoo.backbones, "pets/3", Promise(0.05, 0.2), {})
    back, names, promise = unpack_cascade(stored(content, kind="cascade"))
    assert (back, names, promise) == (cascade, ("small", "large"), Promise(0.05, 0.2))
    assert promise_of(content.metadata) == promise
    assert content.metadata["cascade"]["controller"] == "pets/3"


def test_a_router_travels_with_its_cascade(tmp_path: Path) -> None:
    zoo = trio(tmp_path)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 3, PLAIN_FEATURES + 3)).astype(np.float32)
    router = Router(1, weights, np.linspace(1.0, 2.0, 8))
    cascade = replace(in_order(zoo.backbones, 0.5, 0.6), router=router)
    back, _, _ = unpack_cascade(stored(pack_cascade(cascade, zoo.backbones, None, Promise(0.1, 0.1), {})))
    assert back.router is not None
    assert back.router.first == 1
    assert np.array_equal(back.router.weights, weights)
    assert np.array_equal(back.router.temperatures, router.temperatures)


def without(content: ArtefactContent, name: str) -> ArtefactContent:
    tensors = {key: array for key, array in load(content.tensors).items() if key != name}
    return replace(content, tensors=save(tensors))


def with_metadata(content: ArtefactContent, **changes: Any) -> ArtefactContent:
    return replace(content, metadata={**content.metadata, **changes})


def not_a_number(content: ArtefactContent) -> ArtefactContent:
    tensors = load(content.tensors)
    tensors["c2"] = np.full_like(tensors["c2"], np.nan)
    return replace(content, tensors=save(tensors))


@pytest.mark.parametrize(
    "damage",
    [
        damaged,
        not_a_number,
        lambda content: replace(content, tensors=b""),
        lambda content: replace(content, tensors=content.tensors[:20]),
        lambda content: without(content, "w2"),
        lambda content: with_metadata(content, format=2),
        lambda content: with_metadata(content, format=None),
        lambda content: with_metadata(content, controller={"backbones": ["small"]}),
        lambda content: with_metadata(
            content, controller={"backbones": ["huge", "small"], "widths": [12, 8], "any_subset": True}
        ),
        lambda content: replace(content, metadata={"format": 1}),
    ],
)
def test_a_damaged_controller_is_an_error_of_its_own(
    fake_zoo: Zoo, damage: Callable[[ArtefactContent], ArtefactContent]
) -> None:
    with pytest.raises(ArtefactError):
        unpack_controller(stored(damage(controller_content(fake_zoo, 1.0, 2.0))))


@pytest.mark.parametrize(
    "damage",
    [
        damaged,
        lambda content: without(content, "thresholds"),
        lambda content: with_metadata(content, format=0),
        lambda content: with_metadata(content, cascade={"controller": None}),
        lambda content: with_metadata(content, committee=content.metadata["committee"][:1]),
    ],
)
def test_a_damaged_cascade_is_an_error_of_its_own(
    fake_zoo: Zoo, damage: Callable[[ArtefactContent], ArtefactContent]
) -> None:
    with pytest.raises(ArtefactError):
        unpack_cascade(stored(damage(cascade_content(fake_zoo, 0.5)), kind="cascade"))


def test_a_controller_is_no_cascade(fake_zoo: Zoo) -> None:
    with pytest.raises(ArtefactError):
        unpack_cascade(stored(controller_content(fake_zoo, 1.0, 2.0)))
    assert promise_of(controller_content(fake_zoo, 1.0, 2.0).metadata) is None


def changed(backbone: Backbone, tower: str, **fields: Any) -> Backbone:
    config = replace(getattr(backbone, tower).config, **fields)
    return replace(backbone, **{tower: replace(getattr(backbone, tower), config=config)})


def test_the_same_committee_is_no_change(fake_zoo: Zoo) -> None:
    metadata = {"committee": committee_of(fake_zoo.backbones)}
    assert committee_change(metadata, fake_zoo.backbones) is None
    assert committee_change(metadata, tuple(reversed(fake_zoo.backbones))) is None, "names, not places"


def test_every_change_of_the_committee_is_told_by_name(fake_zoo: Zoo) -> None:
    small, large = fake_zoo.backbones
    metadata = {"committee": committee_of((small, large))}
    assert "large" in str(committee_change(metadata, (small,)))
    assert "large" in str(committee_change({"committee": committee_of((small,))}, (small, large)))
    for other in (
        changed(small, "image", sha256="0" * 64),
        replace(small, text=replace(small.text, digest="0" * 64)),
        changed(small, "image", temperature=2.0),
        changed(small, "image", logit_scale=21.0),
        changed(small, "image", gflops=0.5),
    ):
        assert "small" in str(committee_change(metadata, (other, large)))
