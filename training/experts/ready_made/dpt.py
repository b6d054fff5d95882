"""Depth: DPT, which gives disparity up to a factor and a shift; and surface normals that follow from it.

The paper's expert for normals (NLL-AngMF) is in no library. Normals are taken from the slopes of DPT's disparity
instead, with a camera and a ratio of the nearest to the farthest point that are assumed. They say where a surface
turns; their slant depends on the assumptions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import transformers
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from torch.nn import functional
from transformers import DPTForDepthEstimation
from transformers.utils import logging as transformers_logging

from training.experts.errors import ExpertError
from training.experts.protocol import Identity, Kind, Pictures
from training.experts.ready_made.normals import focal_of, normals_from_disparity
from training.experts.weights import fetching, weights_digest

DEPTH_NAME = "dpt"
NORMALS_NAME = "dpt-normals"
HUB_NAME = "Intel/dpt-large"
FARTHEST_SHARE = 0.1
"""Assumed disparity of a picture's farthest point, as a share of the nearest one's."""

VIEW_DEGREES = 55.0
"""Assumed field of view along the shorter side, that of a common photograph."""


class DptDisparity:
    """`model`: any DPT for depth estimation; pictures are resized to the size that it was built for."""

    def __init__(self, model: DPTForDepthEstimation, origin: str, *, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._model: nn.Module = model
        self._model.eval().to(self._device)  # type: ignore[no-untyped-call]  # the library leaves it unannotated
        side = model.config.image_size
        if not isinstance(side, int):
            raise ExpertError(f"{origin}: its pictures are {side}, not squares.")
        self._side = side
        version = f"transformers {transformers.__version__}, {origin}"
        self._identity = Identity(DEPTH_NAME, version, weights_digest(model), Kind.DISPARITY)

    @property
    def identity(self) -> Identity:
        return self._identity

    @torch.inference_mode()
    def __call__(self, images: Pictures) -> npt.NDArray[np.float32]:
        """float32[n, h, w] for uint8[n, h, w, 3]."""
        planes = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float().div(255)
        planes = functional.interpolate(planes, size=(self._side, self._side), mode="bicubic", antialias=True).clamp(
            0, 1
        )
        found = self._model(pixel_values=(planes - 0.5) / 0.5).predicted_depth[:, None].float()
        sized = functional.interpolate(found, size=images.shape[1:3], mode="bilinear", antialias=True)
        disparity: npt.NDArray[np.float32] = sized[:, 0].cpu().numpy()
        return disparity


class DptNormals:
    """Normals from another expert's disparity."""

    def __init__(self, disparity: DptDisparity) -> None:
        self._disparity = disparity
        of = disparity.identity
        version = f"{of.version}, view {VIEW_DEGREES:g} degrees, farthest {FARTHEST_SHARE:g}"
        self._identity = Identity(NORMALS_NAME, version, of.digest, Kind.NORMALS)

    @property
    def identity(self) -> Identity:
        return self._identity

    def __call__(self, images: Pictures) -> npt.NDArray[np.float32]:
        """float32[n, h, w, 3] for uint8[n, h, w, 3]."""
        found = self._disparity(images)
        low, high = found.min(axis=(1, 2), keepdims=True), found.max(axis=(1, 2), keepdims=True)
        share = (found - low) / np.maximum(high - low, 1e-12)
        metric = FARTHEST_SHARE + (1 - FARTHEST_SHARE) * share
        return normals_from_disparity(metric, focal_of(VIEW_DEGREES, *images.shape[1:3]))


def load_dpt(device: torch.device) -> DptDisparity:
    """With the weights that DPT's authors published. Raises `ExpertError` if they cannot be fetched."""
    # The hub retries for most of a minute without a network and logs each attempt; one sentence says it all.
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the library leaves it unannotated
    with fetching(f"{DEPTH_NAME} ({HUB_NAME})", "the Hugging Face hub"):
        model = DPTForDepthEstimation.from_pretrained(HUB_NAME)
    return DptDisparity(model, HUB_NAME, device=device)


def load_dpt_normals(device: torch.device) -> DptNormals:
    """As `load_dpt`."""
    return DptNormals(load_dpt(device))
