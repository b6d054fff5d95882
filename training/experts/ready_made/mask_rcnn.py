"""Segmentation: torchvision's Mask R-CNN, its instances painted into one map of COCO's classes.

The paper's expert has a ViT trunk and was trained with RangeAugment; those weights are in no library. torchvision's is
a ResNet-50 with a feature pyramid, trained on the same data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2

from training.experts.protocol import Identity, Kind, Pictures
from training.experts.weights import fetching, weights_digest

NAME = "mask-rcnn"
WEIGHTS = MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
CLASSES: tuple[str, ...] = ("background", *WEIGHTS.meta["categories"][1:])
"""COCO's 91 categories by number; those called "N/A" never appear."""


class MaskRcnn:
    """`model`: one of torchvision's, in eval mode. score: instances below it are left out."""

    def __init__(
        self, model: nn.Module, origin: str, *, score: float = 0.5, device: torch.device | None = None
    ) -> None:
        self._device = device or torch.device("cpu")
        self._model, self._score = model.eval().to(self._device), score
        version = f"torchvision {torchvision.__version__}, {origin}, score {score}"
        self._identity = Identity(NAME, version, weights_digest(model), Kind.CLASSES, CLASSES)

    @property
    def identity(self) -> Identity:
        return self._identity

    @torch.inference_mode()
    def __call__(self, images: Pictures) -> npt.NDArray[np.uint8]:
        """uint8[n, h, w] for uint8[n, h, w, 3]."""
        planes = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float().div(255)
        found = self._model(list(planes))
        return np.stack([paint(each, images.shape[1:3], self._score) for each in found])


def paint(instances: Mapping[str, Tensor], shape: tuple[int, ...], score: float) -> npt.NDArray[np.uint8]:
    """Class map uint8[h, w] of one picture's k instances: the more certain one lies on top.

    instances: as torchvision gives them: labels int64[k], scores float32[k], masks float32[k, 1, h, w].
    """
    canvas = np.zeros(shape, np.uint8)
    for index in torch.argsort(instances["scores"]).tolist():
        if float(instances["scores"][index]) >= score:
            canvas[(instances["masks"][index, 0] > 0.5).cpu().numpy()] = int(instances["labels"][index])
    return canvas


def load_mask_rcnn(device: torch.device) -> MaskRcnn:
    """With COCO's weights. Raises `ExpertError` if they cannot be fetched."""
    with fetching(f"{NAME} ({WEIGHTS})", WEIGHTS.url):
        state = WEIGHTS.get_state_dict(progress=False, check_hash=True)
    model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=len(CLASSES))
    model.load_state_dict(state)
    return MaskRcnn(model, str(WEIGHTS), device=device)
