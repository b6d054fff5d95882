"""Mask R-CNN of torchvision as an expert, with random weights."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2

from training.experts.errors import ExpertError
from training.experts.protocol import Kind, check_maps
from training.experts.ready_made import mask_rcnn
from training.experts.ready_made.mask_rcnn import CLASSES, WEIGHTS, MaskRcnn, load_mask_rcnn, paint

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def expert() -> MaskRcnn:
    """The real architecture at 64 pixels and with few instances; random scores are low, so that all are painted."""
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=len(CLASSES),
        min_size=64,
        max_size=64,
        rpn_post_nms_top_n_test=20,
        box_score_thresh=0.0,
        box_detections_per_img=4,
    )
    return MaskRcnn(model, "random", score=0.0)


def test_pictures_become_class_maps(expert: MaskRcnn) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    maps = expert(images)
    check_maps(maps, images, expert.identity)
    assert maps.any()
    assert maps.max() < len(CLASSES)
    assert np.array_equal(maps, expert(images))


def test_the_expert_says_what_it_is(expert: MaskRcnn) -> None:
    identity = expert.identity
    assert (identity.name, identity.kind) == ("mask-rcnn", Kind.CLASSES)
    assert len(identity.digest) == 64
    assert identity.version.startswith("torchvision ")
    assert (identity.classes[0], identity.classes[1], identity.classes[18]) == ("background", "person", "dog")
    assert len(identity.classes) == 91


def test_the_more_certain_instance_lies_on_top_and_doubtful_ones_are_left_out() -> None:
    masks = torch.zeros(3, 1, 4, 6)
    masks[0, 0, :, :4], masks[1, 0, :, 2:], masks[2, 0, 0] = 0.9, 0.8, 0.99
    found = {"labels": torch.tensor([5, 7, 9]), "scores": torch.tensor([0.6, 0.9, 0.4]), "masks": masks}
    assert paint(found, (4, 6), 0.5).tolist() == [[5, 5, 7, 7, 7, 7]] * 4


def test_a_picture_without_instances_is_background() -> None:
    found = {"labels": torch.zeros(0), "scores": torch.zeros(0), "masks": torch.zeros(0, 1, 4, 6)}
    assert not paint(found, (4, 6), 0.5).any()


def test_weights_are_loaded_into_the_model(expert: MaskRcnn, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=91)
    monkeypatch.setattr(mask_rcnn.WEIGHTS.value, "url", "here")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: model.state_dict())
    loaded = load_mask_rcnn(torch.device("cpu"))
    assert loaded.identity.digest == MaskRcnn(model, "same").identity.digest != expert.identity.digest
    assert str(WEIGHTS) in loaded.identity.version


def test_without_a_network_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(
        ExpertError, match=r"^the weights of mask-rcnn .* cannot be fetched from https://.*no route"
    ) as it:
        load_mask_rcnn(torch.device("cpu"))
    assert "\n" not in str(it.value)
