"""Feature maps of towers, at their own size of pictures and at others."""

from __future__ import annotations

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from torch.nn import functional

from tests.unit.training.adapters.small_clip import EMBEDDING, TEXT, pictures, small_clip, small_custom_clip
from training.experts.errors import ExpertError
from training.experts.maps import MapShape, map_shape, tower_features
from training.experts.resize import at_side, interpolate_positions, own_side, resized
from training.models.towers import build_model, zoo_names

pytestmark = pytest.mark.torch

SHAPES = {
    "convnext-s": MapShape(160, 2, 2),
    "hybrid-m": MapShape(192, 8, 8),
    "mixer-n": MapShape(96, 4, 4),
    "resnet-l": MapShape(256, 4, 4),
    "vit-s": MapShape(128, 8, 8),
}


def _small_resnet() -> CLIP:
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, head_width=16, image_size=64)
    return CLIP(EMBEDDING, vision, CLIPTextCfg(**TEXT)).eval()


def _timm_clip(name: str, side: int, **vision: object) -> CLIP:
    torch.manual_seed(0)
    options = {"timm_model_name": name, "timm_pool": "", "timm_proj": "linear", "image_size": side} | vision
    return CLIP(EMBEDDING, CLIPVisionCfg(**options), CLIPTextCfg(**TEXT)).eval()


def _noise(side: int, n: int = 2) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("name", zoo_names())
@torch.no_grad()
def test_every_tower_of_the_zoo_gives_its_embedding_and_a_map(name: str) -> None:
    model = build_model(name).eval()
    images = _noise(own_side(model.visual))
    found = tower_features(model.visual, images)
    assert torch.equal(found.embedding, model.encode_image(images))
    assert map_shape(model.visual) == MapShape(*found.places.shape[1:]) == SHAPES[name]


@torch.no_grad()
def test_openclips_own_transformers_and_resnets_do_too() -> None:
    for model, shape in ((small_clip().eval(), (16, 4, 4)), (small_custom_clip().eval(), (16, 4, 4))):
        found = tower_features(model.visual, pictures())
        assert torch.equal(found.embedding, model.encode_image(pictures()))
        assert found.places.shape[1:] == shape
    resnet = _small_resnet()
    found = tower_features(resnet.visual, _noise(64))
    assert torch.equal(found.embedding, resnet.encode_image(_noise(64)))
    assert found.places.shape == (2, 256, 2, 2)


@torch.no_grad()
def test_timm_transformers_lose_their_class_token_and_channels_come_first() -> None:
    vit = _timm_clip("vit_tiny_patch16_224", 224)
    found = tower_features(vit.visual, _noise(224, 1))
    assert torch.equal(found.embedding, vit.encode_image(_noise(224, 1)))
    assert found.places.shape == (1, 192, 14, 14)
    swin = _timm_clip("swin_tiny_patch4_window7_224", 224, timm_pool="avg")
    assert tower_features(swin.visual, _noise(224, 1)).places.shape == (1, 768, 7, 7)


@torch.no_grad()
def test_the_place_of_a_token_is_the_place_of_its_patch() -> None:
    """Without blocks a token knows its own patch alone: a change in one patch shows in one place."""
    model = small_clip(vision={"layers": 0}).eval()
    one, other = _noise(16, 1), _noise(16, 1)
    other[:, :, 4:8, 12:16] += 1.0  # the second row of patches, the last column
    apart = (tower_features(model.visual, one).places - tower_features(model.visual, other).places).abs().sum(dim=1)[0]
    assert torch.nonzero(apart > 1e-6).tolist() == [[1, 3]]


def test_while_training_no_patch_is_dropped_and_the_tower_stays_as_it_is() -> None:
    model = small_clip(vision={"patch_dropout": 0.5}).train()
    before = set(model.state_dict())
    assert tower_features(model.visual, pictures()).places.shape == (3, 16, 4, 4)
    assert model.visual.patch_dropout.prob == 0.5
    assert set(model.state_dict()) == before


def test_asking_for_the_shape_changes_no_mode_and_no_batch_statistics() -> None:
    model = build_model("resnet-l").train()
    model.visual.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    map_shape(model.visual, 96)
    assert model.visual.trunk.training
    assert not model.visual.head.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_positions_at_the_own_size_are_the_very_same() -> None:
    table = torch.randn(17, 6)
    assert interpolate_positions(table, (4, 4), (4, 4), prefix=1) is table


def test_interpolated_positions_are_bicubic_and_class_tokens_stay() -> None:
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    table = torch.cat([torch.tensor([[9.0, -9.0]]), torch.stack([rows.flatten(), columns.flatten()], dim=1)])
    found = interpolate_positions(table, (4, 4), (8, 8), prefix=1)
    assert torch.equal(found[0], table[0])
    plane = table[1:, 0].view(1, 1, 4, 4)
    expected = functional.interpolate(plane, size=(8, 8), mode="bicubic", antialias=True)
    assert torch.allclose(found[1:, 0].view(8, 8), expected[0, 0])
    inside = found[1:, 0].view(8, 8)[2:6, 4]  # a ramp stays a ramp away from the edges
    assert torch.allclose(inside.diff(), torch.full((3,), 0.5), atol=0.05)


@pytest.mark.parametrize("name", ["vit-s", "hybrid-m", "resnet-l", "convnext-s"])
@torch.no_grad()
def test_a_model_resized_to_its_own_size_is_the_same_and_owns_its_weights(name: str) -> None:
    model = build_model(name).eval()
    images = _noise(64)
    same = resized(model, 64)
    assert torch.equal(same.encode_image(images), model.encode_image(images))
    for value in same.parameters():
        value.zero_()
    assert float(tower_features(model.visual, images).embedding.abs().max()) > 0


@pytest.mark.parametrize("name", ["vit-s", "hybrid-m", "resnet-l", "convnext-s"])
@torch.no_grad()
def test_a_resized_model_gives_by_itself_what_the_twin_gives(name: str) -> None:
    model = build_model(name).eval()
    bigger = resized(model, 96)
    found = tower_features(model.visual, _noise(96))
    assert torch.equal(bigger.encode_image(_noise(96)), found.embedding)
    assert own_side(bigger.visual) == 96
    shape = SHAPES[name]
    assert map_shape(bigger.visual) == MapShape(shape.channels, shape.rows * 3 // 2, shape.columns * 3 // 2)
    if name == "vit-s":
        assert bigger.visual.patch_dropout.prob == 0.5
        assert isinstance(bigger.visual.positional_embedding, nn.Parameter)


@torch.no_grad()
def test_a_resized_resnet_pools_over_interpolated_positions() -> None:
    model = _small_resnet()
    bigger = resized(model, 128)
    assert bigger.visual.attnpool.positional_embedding.shape == (17, 256)
    assert torch.equal(bigger.encode_image(_noise(128)), tower_features(model.visual, _noise(128)).embedding)


def test_gradients_at_another_size_reach_the_positions_of_the_own_size() -> None:
    for name, path in (("vit-s", "positional_embedding"), ("hybrid-m", "trunk.pos_embed")):
        model = build_model(name).train()
        tower_features(model.visual, _noise(96)).places.square().sum().backward()  # type: ignore[no-untyped-call]  # torch's
        gradient = model.visual.get_parameter(path).grad
        assert gradient is not None
        assert float(gradient.abs().sum()) > 0


def test_sizes_and_towers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ExpertError, match="a MlpMixer takes pictures of 32 pixels alone, not 64"):
        at_side(build_model("mixer-n").visual, 64)
    with pytest.raises(ExpertError, match="multiple of 4 pixels, not 18"):
        at_side(small_clip().visual, 18)
    with pytest.raises(ExpertError, match="multiple of 32 pixels, not 80"):
        at_side(_small_resnet().visual, 80)
    with pytest.raises(ExpertError, match="square pictures, not 16 x 20"):
        tower_features(small_clip().visual, torch.zeros(1, 3, 16, 20))
    with pytest.raises(ExpertError, match="not for a Linear"):
        at_side(nn.Linear(2, 2), 16)
