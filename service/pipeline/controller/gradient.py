"""The committee's cross-entropy and its gradient, derived by hand (a test compares it with torch's autograd).

Inside fitting images come first: logits are `float32[m, b, c]`, so that a batch of images is a contiguous gather and
the weighted sum over backbones is one small matrix product per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.pipeline.controller.controller import UNIT_SHIFT, positive
from service.pipeline.logits import Floats, softmax

Link = Literal["softplus", "linear", "exp", "softmax", "inverse"]
Integers = NDArray[np.int64]
Views = tuple[Floats, Floats, Floats, Floats]

EXPONENT_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class Form:
    """What the paper leaves open. The defaults are what is served; the others are there to be compared with.

    `link` makes weights of the network's outputs, each so that `t = 0` is the logit mean: `softplus(t + k)`; `1 + t`;
    `exp(t)`; `|S| softmax(t)` over the backbones that answered; `1 / softplus(t + k)`, a temperature. `hidden = 0` is
    one linear layer. With `unit_features` off, embeddings are read at the length that they come with.
    """

    link: Link = "softplus"
    unit_features: bool = True
    hidden: int = 128


@dataclass(frozen=True, slots=True)
class Network:
    """How one vector of parameters `float32[size]` is read: `inputs` numbers in, `outputs` numbers out.

    A controller's network reads one row per image and gives one output per backbone; a generic one reads one row per
    image *and backbone* and gives one output.
    """

    inputs: int
    outputs: int
    hidden: int = 128
    link: Link = "softplus"

    @property
    def size(self) -> int:
        read = self.hidden or self.inputs
        return self.hidden * (self.inputs + 1) + self.outputs * (read + 1)

    def views(self, theta: Floats) -> Views:
        """`w1 [h, inputs]`, `c1 [h]`, `w2 [outputs, h]`, `c2 [outputs]`, all in `theta`'s memory.

        Without hidden layer `w2` is `[outputs, inputs]`.
        """
        first = self.hidden * self.inputs
        second, last = first + self.hidden, self.size - self.outputs
        w1, w2 = theta[:first].reshape(self.hidden, self.inputs), theta[second:last].reshape(self.outputs, -1)
        return w1, theta[first:second], w2, theta[last:]

    def run(self, theta: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """What the last layer reads, `float32[rows, h]`, and what it gives, `float32[rows, outputs]`."""
        w1, c1, w2, c2 = self.views(theta)
        read = np.maximum(inputs @ w1.T + c1, 0) if self.hidden else inputs
        return read, read @ w2.T + c2


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`inputs` `float32[rows, inputs]`, absent backbones being zero in it; `logits` `float32[m, b, c]`; `truth`
    `int64[m]`; `present` `float32[m, b]` of ones and zeros, at least one 1 in each row; `offsets` `float32[m, b]`,
    added to t, or None."""

    inputs: Floats
    logits: Floats
    truth: Integers
    present: Floats
    offsets: Floats | None = None


def link_weights(link: Link, t: Floats, present: Floats) -> Floats:
    """Weights `float32[m, b]` from the network's outputs, 0 where a backbone is absent."""
    if link == "softplus":
        return positive(t) * present
    if link == "linear":
        return (1 + t) * present
    if link == "exp":
        return np.asarray(np.exp(np.minimum(t, EXPONENT_LIMIT)) * present, dtype=np.float32)
    if link == "softmax":
        shares = softmax(np.where(present > 0, t, -np.inf).astype(np.float32))
        return np.asarray(shares * present.sum(axis=1, keepdims=True), dtype=np.float32)
    return present / positive(t)


def link_gradient(link: Link, t: Floats, weights: Floats, present: Floats, d_weights: Floats) -> Floats:
    """The loss's gradient with respect to `t`, from that with respect to the weights."""
    if link == "linear":
        return d_weights * present
    if link == "exp":
        return d_weights * weights
    if link == "softmax":
        shares = weights / present.sum(axis=1, keepdims=True)
        return np.asarray(weights * (d_weights - (shares * d_weights).sum(axis=1, keepdims=True)), dtype=np.float32)
    slope = 1 / (1 + np.exp(-np.clip(t + np.float32(UNIT_SHIFT), -EXPONENT_LIMIT, EXPONENT_LIMIT)))
    if link == "softplus":
        return np.asarray(d_weights * slope * present, dtype=np.float32)
    return np.asarray(-d_weights * weights**2 * slope, dtype=np.float32)


def loss_and_gradient(network: Network, theta: Floats, batch: Batch, gradient: Floats) -> float:
    """Mean cross-entropy in nats of `softmax((1/|S|) sum_b a_b z_b)`; its gradient is written into `gradient`."""
    read, outputs = network.run(theta, batch.inputs)
    t = outputs.reshape(batch.present.shape)
    if batch.offsets is not None:
        t = t + batch.offsets
    weights = link_weights(network.link, t, batch.present)
    size = batch.present.sum(axis=1, keepdims=True)
    loss, d_logits = cross_entropy(weighted_mean(weights / size, batch.logits), batch.truth)
    d_weights = row_products(batch.logits, d_logits) / size
    d_t = link_gradient(network.link, t, weights, batch.present, d_weights).reshape(outputs.shape)
    _, _, w2, _ = network.views(theta)
    d_w1, d_c1, d_w2, d_c2 = network.views(gradient)
    np.matmul(d_t.T, read, out=d_w2)
    d_t.sum(axis=0, out=d_c2)
    if network.hidden:
        d_activation = (d_t @ w2) * (read > 0)
        np.matmul(d_activation.T, batch.inputs, out=d_w1)
        d_activation.sum(axis=0, out=d_c1)
    return loss


def weighted_mean(weights: Floats, logits: Floats) -> Floats:
    """`float32[m, c]` from weights `float32[m, b]`, divided by |S| already, and logits `float32[m, b, c]`."""
    return np.asarray(np.matmul(weights[:, None, :], logits)[:, 0], dtype=np.float32)


def cross_entropy(logits: Floats, truth: Integers) -> tuple[float, Floats]:
    """Mean loss in nats, and its gradient `float32[m, c]` with respect to the logits."""
    rows = np.arange(len(truth))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    loss = float((np.log(sums[:, 0]) - shifted[rows, truth]).mean())
    gradient = exponentials / sums
    gradient[rows, truth] -= 1
    gradient /= len(truth)
    return loss, gradient


def row_products(rows: Floats, vectors: Floats) -> Floats:
    """`float32[m, b]`: each of `rows float32[m, b, c]` times its item's vector, `float32[m, c]`.

    Not by `matmul`: OpenBLAS 0.3.31 on AVX-512 computes on stale lanes where c is 5. What comes out is right, but a
    signalling NaN among them raises the flag of invalid operations, and numpy warns.
    """
    return np.asarray(np.vecdot(rows, vectors[:, None]), dtype=np.float32)
