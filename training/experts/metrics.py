"""How good dense predictions are: of every picture by itself, so that means and their intervals are over pictures."""

import torch
from torch import Tensor
from torch.nn import functional

from training.experts.targets import NO_CLASS

SMALLEST_VARIANCE = 1e-12
# Below it the angle's slope, 1 / sin, is lost in float32.
LARGEST_COSINE = 1 - 1e-6
SMALLEST_KAPPA = 0.01


def confusions(found: Tensor, truth: Tensor, classes: int) -> Tensor:
    """How many pixels of each class were called what: int64[n, classes, classes], truth along the rows.

    found, truth: int64[n, h, w]; pixels whose truth is `NO_CLASS` are left out.
    """
    known = truth != NO_CLASS
    pairs = torch.where(known, truth * classes + found, classes * classes).flatten(1)
    counts = torch.zeros(len(truth), classes * classes + 1, dtype=torch.int64, device=truth.device)
    counts.scatter_add_(1, pairs, torch.ones_like(pairs))
    return counts[:, :-1].view(-1, classes, classes)


def class_ious(confusion: Tensor) -> Tensor:
    """Intersection over union of every class: float64[..., classes], NaN where a class is neither there nor found.

    confusion: numbers [..., classes, classes], of one picture or summed over many.
    """
    counts = confusion.double()
    hit = counts.diagonal(dim1=-2, dim2=-1)
    return hit / (counts.sum(dim=-1) + counts.sum(dim=-2) - hit)


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean of `class_ious` over the classes that are there or were found: float64[...]."""
    return class_ious(confusion).nanmean(dim=-1)


def disparity(depth: Tensor) -> Tensor:
    """1 / depth, float32[n, h, w]; NaN where the depth is NaN or not positive. Infinitely far is 0."""
    return torch.where(depth > 0, 1 / depth, torch.nan)


def aligned(found: Tensor, target: Tensor) -> Tensor:
    """`found` times a scale plus a shift, the pair of each picture that comes nearest to `target` in least squares.

    Both float[n, h, w]; pixels where `target` is NaN are left out of the choice. The closed form (Ranftl et al. 2020,
    equation 4): covariance over variance, then the difference of means. A flat prediction becomes the target's mean.
    """
    known = ~target.isnan()
    target = torch.nan_to_num(target)  # masked out below; as a factor, NaN would be in every gradient
    count = known.sum(dim=(1, 2), keepdim=True).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return torch.where(known, values, 0).sum(dim=(1, 2), keepdim=True) / count

    centre, goal = mean(found), mean(target)
    off = found - centre
    scale = mean(off * (target - goal)) / mean(off.square()).clamp(min=SMALLEST_VARIANCE)
    return off * scale + goal


def ssi_errors(found: Tensor, target: Tensor) -> Tensor:
    """Half of the mean squared difference after `aligned`, of every picture: float[n], NaN where it has no target.

    The scale- and shift-invariant loss of Ranftl et al. 2020 (equation 3). Both float[n, h, w] in disparity space.
    """
    known = ~target.isnan()
    count = known.sum(dim=(1, 2))
    off = torch.where(known, aligned(found, target) - torch.nan_to_num(target), 0)
    each = off.square().sum(dim=(1, 2)) / (2 * count.clamp(min=1))
    return torch.where(count > 0, each, torch.nan)


def ssi_loss(found: Tensor, target: Tensor) -> Tensor:
    """Mean of `ssi_errors` over the pictures that have a target, a scalar; 0 where none has."""
    each = ssi_errors(found, target)
    known = ~each.isnan()
    return each[known].mean() if known.any() else found.sum() * 0


def absolute_relative_errors(found: Tensor, depth: Tensor, *, cap: float) -> Tensor:
    """Mean of |depth found - depth| / depth of every picture: float64[n], NaN where a picture has no known depth.

    found: disparity up to a scale and a shift, float32[n, h, w], aligned to the true disparity first and turned into
    depths of `cap` at most, as Ranftl et al. 2020 evaluate. depth: float32[n, h, w]; what lies farther than `cap`, or
    is not positive, counts as unknown.
    """
    depth = torch.where((depth > 0) & (depth <= cap), depth.double(), torch.nan)
    estimate = 1 / aligned(found.double(), disparity(depth)).clamp(min=1 / cap)
    return ((estimate - depth).abs() / depth).flatten(1).nanmean(dim=1)


def angles(found: Tensor, normals: Tensor) -> Tensor:
    """Degrees between unit vectors, float64[n, h, w], NaN where there is no normal; both float32[n, 3, h, w].

    By the arc tangent: the arc cosine of float32 cannot tell angles below a hundredth of a degree.
    """
    a, b = found.double(), normals.double()
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=1).norm(dim=1), (a * b).sum(dim=1)))


def share_within(degrees: Tensor, limit: float = 30.0) -> Tensor:
    """Share of a picture's pixels whose angle is below `limit` degrees: float64[n], NaN where none is known."""
    near = torch.where(degrees.isnan(), degrees, (degrees < limit).to(degrees))
    return near.flatten(1).nanmean(dim=1)


def mean_angles(degrees: Tensor) -> Tensor:
    """Mean angle of every picture in degrees: float64[n], NaN where none is known."""
    return degrees.flatten(1).nanmean(dim=1)


def _cosines(found: Tensor, normals: Tensor) -> Tensor:
    """Of the pixels that have a normal, float[m], within what an arc cosine can be differentiated at."""
    cosines = (functional.normalize(found, dim=1) * torch.nan_to_num(normals)).sum(dim=1)
    return cosines[~normals.isnan().any(dim=1)].clamp(-LARGEST_COSINE, LARGEST_COSINE)


def angular_loss(found: Tensor, normals: Tensor) -> Tensor:
    """Mean angle in radians, a scalar. found: float32[n, 3, h, w] of any length; normals: unit vectors or NaN."""
    cosines = _cosines(found, normals)
    return cosines.acos().mean() if len(cosines) else found.sum() * 0


def attenuated_angular_loss(found: Tensor, normals: Tensor) -> Tensor:
    """Negative log-likelihood of the angular von Mises-Fisher distribution (Bae et al. 2021, equation 5), a scalar.

    found: float32[n, 4, h, w], a vector of any length, and what becomes the concentration: where the network is unsure
    it says so, and the angle counts less.
    """
    known = ~normals.isnan().any(dim=1)
    cosines = _cosines(found[:, :3], normals)
    if not len(cosines):
        return found.sum() * 0
    kappa = functional.elu(found[:, 3])[known] + 1 + SMALLEST_KAPPA
    return (kappa * cosines.acos() - torch.log1p(kappa.square()) + torch.log1p(torch.exp(-kappa * torch.pi))).mean()
