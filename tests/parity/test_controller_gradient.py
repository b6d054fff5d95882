"""The controller's hand-derived gradients, and its Adam, against torch."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from service.pipeline.controller.controller import UNIT_SHIFT, positive
from service.pipeline.controller.fit import Schedule, descend, start
from service.pipeline.controller.gradient import Batch, Form, Link, Network, loss_and_gradient
from service.pipeline.controller.static import fit_static
from service.pipeline.logits import Floats, softmax
from training.evaluate.baselines import mixture_gradients

pytestmark = pytest.mark.torch

IMAGES, CLASSES = 12, 7
WIDTHS = (3, 4, 5)
BACKBONES = len(WIDTHS)
LINKS: tuple[Link, ...] = ("softplus", "linear", "exp", "softmax", "inverse")


def normal(*shape: int, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def some_batch(seed: int = 0, *, masked: bool = True, offsets: bool = False) -> Batch:
    generator = np.random.default_rng(seed)
    present = np.ones((IMAGES, BACKBONES), dtype=np.float32)
    if masked:
        present = generator.integers(0, 2, present.shape).astype(np.float32)
        present[np.arange(IMAGES), generator.integers(0, BACKBONES, IMAGES)] = 1
    return Batch(
        inputs=normal(IMAGES, sum(WIDTHS), seed=seed + 1) * present[:, np.repeat(np.arange(BACKBONES), WIDTHS)],
        logits=4 * normal(IMAGES, BACKBONES, CLASSES, seed=seed + 2),
        truth=generator.integers(0, CLASSES, IMAGES),
        present=present,
        offsets=normal(IMAGES, BACKBONES, seed=seed + 3) if offsets else None,
    )


def doubles(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float64))


def torch_loss(network: Network, theta: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The same loss, written from the formulas and for autograd alone."""
    h, d, b = network.hidden, network.inputs, network.outputs
    x, z, present = doubles(batch.inputs), doubles(batch.logits), doubles(batch.present)
    if h:
        w1, c1, w2, c2 = torch.split(theta, [h * d, h, b * h, b])
        t = functional.relu(x @ w1.view(h, d).T + c1) @ w2.view(b, h).T + c2
    else:
        w, c = torch.split(theta, [b * d, b])
        t = x @ w.view(b, d).T + c
    t = t.reshape(present.shape)
    if batch.offsets is not None:
        t = t + doubles(batch.offsets)
    size = present.sum(dim=1, keepdim=True)
    weights = {
        "softplus": lambda: functional.softplus(t + UNIT_SHIFT),
        "linear": lambda: 1 + t,
        "exp": lambda: torch.exp(t),
        "softmax": lambda: size * torch.softmax(t.masked_fill(present == 0, -torch.inf), dim=1),
        "inverse": lambda: 1 / functional.softplus(t + UNIT_SHIFT),
    }[network.link]()
    combined = ((weights * present / size)[:, :, None] * z).sum(dim=1)
    return functional.cross_entropy(combined, torch.from_numpy(batch.truth))


def assert_same_gradient(network: Network, batch: Batch) -> None:
    theta = normal(network.size, seed=5) / np.float32(2)
    reference = doubles(theta).requires_grad_()
    expected = torch_loss(network, reference, batch)
    expected.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert reference.grad is not None
    gradient = np.full_like(theta, np.nan)
    assert loss_and_gradient(network, theta, batch, gradient) == pytest.approx(float(expected.detach()), rel=1e-5)
    scale = float(reference.grad.abs().max())
    assert scale > 0
    assert np.abs(gradient - reference.grad.numpy()).max() <= 2e-5 * scale


@pytest.mark.parametrize(("link", "hidden", "masked"), list(product(LINKS, (0, 16), (False, True))))
def test_the_gradient_is_autograds(link: Link, hidden: int, masked: bool) -> None:
    assert_same_gradient(Network(sum(WIDTHS), BACKBONES, hidden, link), some_batch(masked=masked))


def test_the_gradient_of_the_form_that_is_served_is_autograds() -> None:
    form = Form()
    assert_same_gradient(Network(sum(WIDTHS), BACKBONES, form.hidden, form.link), some_batch(seed=20, masked=False))


def test_the_gradient_is_autograds_beside_a_generic_part() -> None:
    assert_same_gradient(Network(sum(WIDTHS), BACKBONES, 16), some_batch(offsets=True))


def test_the_gradient_of_a_network_that_backbones_share_is_autograds() -> None:
    batch = replace(some_batch(), inputs=normal(IMAGES * BACKBONES, 8, seed=9))
    assert_same_gradient(Network(8, 1, 16), batch)


def test_fifty_steps_are_those_of_torchs_adam_with_its_weight_decay() -> None:
    network = Network(sum(WIDTHS), BACKBONES, 16)
    schedule = Schedule(learning_rate=2e-4, steps=50, batch_size=IMAGES, strength=0.01)
    begin = start(network, np.random.default_rng(0), scale=0.5)
    feed = [some_batch(seed=100 + step) for step in range(schedule.steps)]
    reference = doubles(begin).requires_grad_()
    optimizer = torch.optim.Adam([reference], lr=schedule.learning_rate, weight_decay=schedule.strength)
    for batch in feed:
        optimizer.zero_grad()
        torch_loss(network, reference, batch).backward()  # type: ignore[no-untyped-call]  # as above
        optimizer.step()
    found = descend(network, begin, np.zeros_like(begin), schedule, feed)
    moved = np.abs(reference.detach().numpy() - begin).max()
    assert moved > 20 * schedule.learning_rate
    assert np.abs(found - reference.detach().numpy()).max() <= 0.02 * moved


def test_a_pull_is_towards_the_prior() -> None:
    network = Network(sum(WIDTHS), BACKBONES, 16)
    schedule = Schedule(learning_rate=2e-3, steps=40, batch_size=IMAGES, strength=0.3, cosine=True)
    prior = start(network, np.random.default_rng(0), scale=0.5)
    feed = [some_batch(seed=200 + step) for step in range(schedule.steps)]
    reference = doubles(prior).requires_grad_()
    optimizer = torch.optim.Adam([reference], lr=schedule.learning_rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, schedule.steps)
    for batch in feed:
        optimizer.zero_grad()
        pull = schedule.strength / 2 * ((reference - doubles(prior)) ** 2).sum()
        (torch_loss(network, reference, batch) + pull).backward()  # type: ignore[no-untyped-call]  # as above
        optimizer.step()
        falling.step()
    found = descend(network, prior, prior, schedule, feed)
    moved = np.abs(reference.detach().numpy() - prior).max()
    assert np.abs(found - reference.detach().numpy()).max() <= 0.02 * moved


def test_static_weights_are_where_torchs_gradient_vanishes() -> None:
    batch, strength = some_batch(masked=False), 0.01
    c2 = fit_static(batch.logits, batch.truth, strength)
    reference = doubles(c2).requires_grad_()
    weights = functional.softplus(reference + UNIT_SHIFT)
    combined = (weights[None, :, None] * doubles(batch.logits)).mean(dim=1)
    loss = functional.cross_entropy(combined, torch.from_numpy(batch.truth)) + strength / 2 * (reference**2).sum()
    loss.backward()  # type: ignore[no-untyped-call]  # as above
    assert reference.grad is not None
    assert float(reference.grad.abs().max()) < 1e-3
    assert np.allclose(weights.detach().numpy(), positive(c2), rtol=1e-5)


@pytest.mark.parametrize("double_softmax", [True, False])
def test_the_baselines_mixture_has_autograds_gradient(double_softmax: bool) -> None:
    batch = some_batch(masked=False)
    shapes = ((6, sum(WIDTHS)), (6,), (BACKBONES, 6), (BACKBONES,))
    parameters = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    w1, c1, w2, c2 = references = [doubles(each).requires_grad_() for each in parameters]
    shares = torch.softmax(functional.relu(doubles(batch.inputs) @ w1.T + c1) @ w2.T + c2, dim=1)
    mixed = (shares[:, :, None] * torch.softmax(doubles(batch.logits), dim=2)).sum(dim=1)
    truth = torch.from_numpy(batch.truth)
    loss = (
        functional.cross_entropy(mixed / BACKBONES, truth)
        if double_softmax
        else functional.nll_loss(mixed.log(), truth)
    )
    loss.backward()  # type: ignore[no-untyped-call]  # as above
    found = mixture_gradients(
        parameters, batch.inputs, softmax(batch.logits), batch.truth, double_softmax=double_softmax
    )
    for ours, theirs in zip(found, references, strict=True):
        assert theirs.grad is not None
        assert np.allclose(ours, theirs.grad.numpy(), rtol=1e-3, atol=1e-5 * float(theirs.grad.abs().max()))
