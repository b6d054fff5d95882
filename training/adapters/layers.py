"""Adapters on a feature f of shape [..., d]: equations 1 to 5. No biases anywhere, as in the paper.

f is what the attention or the feed-forward part gives, before the block adds it to its input (the place of Houlsby et
al. 2019); `top` adapters take the pooled feature before the tower's projection. Matrices are stored as [in, out].

"0/1e-3 for means/variances" is read as a standard deviation of 1e-3: as a variance (0.03) a bottleneck of 128 on
d = 768 would start at a third of its input's length, which is no near-identity.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from training.adapters.design import Activation

# Where initial values come from; None makes shapes alone, on the meta device.
Draw = Generator | None


def normal(draw: Draw, *shape: int, std: float) -> nn.Parameter:
    """Normal values around 0, drawn on the CPU so that every device starts alike."""
    if draw is None:
        return nn.Parameter(torch.empty(shape, device="meta"))
    return nn.Parameter(torch.randn(*shape, generator=draw, device="cpu") * std)


def identity_first(draw: Draw, rows: int, columns: int, std: float) -> nn.Parameter:
    """Small normal values around an exact identity in the leading square."""
    matrix = normal(draw, rows, columns, std=std)
    if draw is not None:
        side = min(rows, columns)
        with torch.no_grad():
            matrix[:side, :side] = torch.eye(side)
    return matrix


class Linear(nn.Module):
    """A map of features that is one matrix in the end."""

    def matrix(self) -> Tensor:
        """[d, d], so that `self(f) == f @ matrix`: what can be merged into the matrix before it."""
        raise NotImplementedError


class Pyramid(Linear):
    """Equation 1: f + [f, ..., f] W with W in [N d, d].

    N copies of one feature through a wide matrix are one feature through the sum of its N parts, so that is what is
    computed; a test compares with the copies.
    """

    def __init__(self, d: int, n: int, std: float, draw: Draw) -> None:
        super().__init__()
        self.weight = normal(draw, n * d, d, std=std)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        return f + f @ self._sum()

    def _sum(self) -> Tensor:
        d = self.weight.shape[1]
        return self.weight.view(-1, d, d).sum(dim=0)

    def matrix(self) -> Tensor:
        return self._sum() + torch.eye(self.weight.shape[1], device=self.weight.device)


class ReverseBottleneck(Linear):
    """Equation 3: f + (f W1) W2 with a hidden width of N d / 2, so that it costs N d * d parameters."""

    def __init__(self, d: int, n: int, std: float, draw: Draw) -> None:
        super().__init__()
        self.first = normal(draw, d, n * d // 2, std=std)
        self.second = normal(draw, n * d // 2, d, std=std)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        return f + f @ self.first @ self.second

    def matrix(self) -> Tensor:
        return self.first @ self.second + torch.eye(len(self.first), device=self.first.device)


class Stack(Linear):
    """Equation 4: f + f W1 W2 ... WN, every W in [d, d], nothing between them.

    The paper does not say how W starts. N factors of 1e-3 each would leave gradients of 1e-3 to the power of N - 1, so
    all but the last keep lengths (standard deviation 1 / sqrt(d)); the last one makes it near-identity.
    """

    def __init__(self, d: int, n: int, std: float, draw: Draw) -> None:
        super().__init__()
        stds = [d**-0.5] * (n - 1) + [std]
        self.weights = nn.ParameterList([normal(draw, d, d, std=each) for each in stds])

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        mapped = f
        for weight in self.weights:
            mapped = mapped @ weight
        return f + mapped

    def matrix(self) -> Tensor:
        product: Tensor = self.weights[0]
        for weight in list(self.weights)[1:]:
            product = product @ weight
        return product + torch.eye(len(product), device=product.device)


class Top(Linear):
    """Equation 2: (f W1) W2 without any skip, hidden width L N d / 2 for a tower of L blocks.

    The paper does not say how it starts. Since nothing carries f past it, the first d hidden units start as the
    identity, the rest small: otherwise it would have to learn the backbone's answer anew.
    """

    def __init__(self, d: int, hidden: int, std: float, draw: Draw) -> None:
        super().__init__()
        self.first = identity_first(draw, d, hidden, std)
        self.second = identity_first(draw, hidden, d, std)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        return f @ self.first @ self.second

    def matrix(self) -> Tensor:
        return self.first @ self.second


class Bottlenecks(Linear):
    """Equation 5: f + the mean of `n` bottlenecks of f, each (act(f W1)) W2. One of them is Houlsby's adapter.

    Equation 5 shows no activation between the matrices; "the typical adapter", which the text says it follows, has
    one. Only without it can the whole be merged. All first matrices are one product, and so are all second ones, since
    a mean of products is the product of what is laid side by side.
    """

    def __init__(self, d: int, n: int, width: int, std: float, activation: Activation, draw: Draw) -> None:
        super().__init__()
        self.n, self.activation = n, activation
        self.down = normal(draw, d, n * width, std=std)
        self.up = normal(draw, n * width, d, std=std)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        hidden = f @ self.down
        if self.activation == "gelu":
            hidden = functional.gelu(hidden)
        return f + hidden @ self.up / self.n

    def matrix(self) -> Tensor:
        """Raises `ValueError` with an activation, which makes it more than a matrix."""
        if self.activation != "none":
            raise ValueError("a bottleneck with an activation is not a matrix")
        return self.down @ self.up / self.n + torch.eye(len(self.down), device=self.down.device)


class ClipAdapter(nn.Module):
    """CLIP-Adapter (Gao et al. 2021) on the embedding: (1 - r) f + r relu(f W1) W2, drawn as torch draws linear layers.

    Its embeddings are compared by cosine, so r = 0 is the backbone.
    """

    def __init__(self, d: int, width: int, ratio: float, draw: Draw) -> None:
        super().__init__()
        hidden = width or max(1, d // 4)
        self.ratio = ratio
        # torch draws uniformly within 1 / sqrt(in), a standard deviation of 1 / sqrt(3 in)
        self.down = normal(draw, d, hidden, std=(3 * d) ** -0.5)
        self.up = normal(draw, hidden, d, std=(3 * hidden) ** -0.5)

    def forward(self, f: Tensor) -> Tensor:
        """float[..., d] -> float[..., d]."""
        return (1 - self.ratio) * f + self.ratio * (functional.relu(f @ self.down) @ self.up)
