"""Adapters on whole CLIPs."""

from __future__ import annotations

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from tests.unit.training.adapters.small_clip import embed, pictures, small_clip, small_custom_clip, stir, token_ids
from training.adapters import DESIGNS, Adapted, AdapterError, Design, attach, design
from training.models.towers import build_model

pytestmark = pytest.mark.torch

SMALL = {"width": 4, "rank": 2}
# At the start they equal the backbone to 1e-4: bottlenecks (small times small) and LoRA (zero).
EXACT = [name for name in DESIGNS if "bottleneck" in name or name.startswith(("msa-lo", "zero-shot", "without-msa"))]
# Values of 1e-3 on whole features, or CLIP-Adapter's fifth of something new.
NEAR = [name for name in DESIGNS if name not in EXACT]


def _small(name: str, **changes: object) -> Design:
    return design(name, **(SMALL | ({"width": 0} if name == "clip-adapter" else {}) | changes))


def _apart(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", EXACT)
def test_bottlenecks_and_low_ranks_start_as_the_backbone(name: str) -> None:
    clip = small_clip()
    assert _apart(embed(attach(clip, _small(name), seed=0)), embed(clip)) < 1e-4


@pytest.mark.parametrize("name", NEAR)
def test_other_designs_start_near_the_backbone(name: str) -> None:
    clip = small_clip()
    limit = 0.3 if name == "clip-adapter" else 2e-2
    assert _apart(embed(attach(clip, _small(name), seed=0)), embed(clip)) < limit


@pytest.mark.parametrize("name", ["both-pyramid", "msa", "on-top"])
def test_without_noise_the_start_is_the_backbone_exactly(name: str) -> None:
    clip = small_clip()
    assert _apart(embed(attach(clip, _small(name, init_std=0.0), seed=0)), embed(clip)) < 1e-6


def _step(adapted: Adapted) -> None:
    optimizer = torch.optim.AdamW(adapted.adapter_parameters(), lr=1e-2)
    for _ in range(2):
        rows = [adapted.encode_image(pictures()), adapted.encode_text(token_ids())]
        image, text = (nn.functional.normalize(each, dim=-1) for each in rows)
        loss = nn.functional.cross_entropy(adapted.logit_scale.exp() * image @ text.T, torch.arange(3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        optimizer.step()


@pytest.mark.parametrize("name", [name for name in DESIGNS if name != "zero-shot"])
def test_training_changes_every_adapter_and_nothing_that_is_frozen(name: str) -> None:
    adapted = attach(small_clip(), _small(name), seed=0).train()
    before, digest = {key: value.clone() for key, value in adapted.adapter_state().items()}, adapted.frozen_digest()
    _step(adapted)
    assert adapted.frozen_digest() == digest
    assert all(not torch.equal(value, before[key]) for key, value in adapted.adapter_state().items())
    others = {id(parameter) for parameter in adapted.parameters()} - set(map(id, adapted.adapter_parameters()))
    assert all(not each.requires_grad for each in adapted.parameters() if id(each) in others)


def test_a_changed_weight_changes_the_digest_of_what_is_frozen() -> None:
    clip = small_clip()
    adapted = attach(clip, _small("msa"), seed=0)
    before = adapted.frozen_digest()
    with torch.no_grad():
        clip.visual.conv1.weight[0, 0, 0, 0] += 1e-3
    assert adapted.frozen_digest() != before


def test_many_share_one_backbone_and_do_not_meet() -> None:
    clip = small_clip()
    one, other = attach(clip, _small("msa"), seed=0), attach(clip, _small("msa-lo"), seed=1)
    frozen = {id(parameter) for parameter in clip.parameters()}
    for adapted in (one, other):
        mine = {id(parameter) for parameter in adapted.parameters()}
        assert frozen <= mine
    before = embed(other)
    stir(one.adapter_parameters())
    assert _apart(embed(other), before) == 0
    assert _apart(embed(clip), embed(attach(clip, design("zero-shot"), seed=0))) == 0


def test_the_clip_itself_is_left_as_it_was() -> None:
    clip = small_clip().eval()
    before, names = embed(clip), list(clip.state_dict())
    stir(attach(clip, _small("msa"), seed=0).adapter_parameters())
    assert list(clip.state_dict()) == names
    assert _apart(embed(clip), before) < 1e-6  # torch takes another path through what needs no gradients


def test_equal_seeds_start_alike_and_others_differently() -> None:
    clip = small_clip()
    states = [attach(clip, _small("msa"), seed=seed).adapter_state() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", ["msa", "msa-lo", "on-top", "clip-adapter", "both-mlp"])
def test_a_state_loads_into_a_fresh_one(name: str) -> None:
    clip = small_clip()
    one, other = attach(clip, _small(name), seed=0), attach(clip, _small(name), seed=1)
    stir(one.adapter_parameters())
    other.load_adapter_state(one.adapter_state())
    assert _apart(embed(one), embed(other)) == 0


def test_a_state_holds_the_adapters_alone_by_stable_names() -> None:
    state = attach(small_clip(), _small("msa", where="both", towers="vision"), seed=0).adapter_state()
    assert list(state) == [
        f"vision.{block}.{name}"
        for block in range(2)
        for name in ("scales.weight", "feed_forward.down", "feed_forward.up")
    ]
    assert not any(value.requires_grad for value in state.values())


def test_a_state_of_another_design_is_refused_and_changes_nothing() -> None:
    clip = small_clip()
    adapted = attach(clip, _small("msa"), seed=0)
    before = {key: value.clone() for key, value in adapted.adapter_state().items()}
    with pytest.raises(AdapterError, match="names differ"):
        adapted.load_adapter_state(attach(clip, _small("msa-lo"), seed=0).adapter_state())
    with pytest.raises(AdapterError, match=r"feed_forward.down is \(16, 5\), not \(16, 4\)"):
        adapted.load_adapter_state(attach(clip, _small("msa", width=5), seed=1).adapter_state())
    assert all(torch.equal(value, before[key]) for key, value in adapted.adapter_state().items())


def test_what_was_added_is_counted_by_tower() -> None:
    adapted = attach(small_clip(), _small("msa"), seed=0)
    assert adapted.added() == {"vision": 2 * (3 * 16 * 16 + 2 * 16 * 4), "language": 2 * (3 * 8 * 8 + 2 * 8 * 4)}
    total = sum(parameter.numel() for parameter in small_clip().parameters())
    assert adapted.share() == pytest.approx(sum(adapted.added().values()) / total)


def test_one_tower_can_be_left_alone() -> None:
    clip = small_clip()
    adapted = attach(clip, _small("both-pyramid", towers="language"), seed=0)
    stir(adapted.adapter_parameters())
    image, text = embed(adapted)
    assert torch.equal(image, embed(clip)[0])
    assert not torch.equal(text, embed(clip)[1])


@pytest.mark.parametrize("name", ["msa", "msa-lo", "on-top", "clip-adapter", "both-bottleneck"])
@pytest.mark.parametrize("text", [{}, {"no_causal_mask": True, "proj_bias": True}])
def test_clips_with_a_text_tower_of_their_own_are_adapted_as_well(name: str, text: dict[str, object]) -> None:
    clip = small_custom_clip(**text)
    adapted = attach(clip, _small(name, init_std=0.0), seed=0)
    assert _apart(embed(adapted), embed(clip)) < (0.3 if name == "clip-adapter" else 1e-6)
    stir(adapted.adapter_parameters())
    assert _apart(embed(adapted), embed(clip)) > 1e-3


def test_training_mode_drops_no_patches() -> None:
    clip = small_clip(vision={"patch_dropout": 0.5})
    adapted = attach(clip, _small("msa"), seed=0).train()
    assert adapted.training
    assert torch.equal(adapted.encode_image(pictures()), adapted.encode_image(pictures()))


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    clip = small_clip()
    gradients = []
    for recompute in (False, True):
        clip.set_grad_checkpointing(recompute)
        adapted = attach(clip, _small("msa"), seed=0)
        adapted.encode_image(pictures()).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        gradients.append([parameter.grad for name, parameter in adapted.named_adapter_parameters() if "vision" in name])
    assert gradients[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_the_zoo_s_vision_transformer_takes_every_design() -> None:
    clip = build_model("vit-s")
    image, ids = torch.randn(2, 3, 64, 64), torch.randint(3, 2048, (2, 24))
    for name in DESIGNS:
        adapted = attach(clip, design(name), seed=0)
        assert adapted.encode_image(image).shape == adapted.encode_text(ids).shape == (2, 256)


def test_an_image_tower_without_transformer_blocks_takes_language_adapters_and_clip_adapter_alone() -> None:
    clip = build_model("resnet-l")
    with pytest.raises(AdapterError, match="the vision tower is not one of OpenCLIP's plain transformers"):
        attach(clip, design("msa"), seed=0)
    assert attach(clip, design("msa-lo", towers="language"), seed=0).added()["vision"] == 0
    assert attach(clip, design("clip-adapter"), seed=0).added()["vision"] > 0


def test_towers_that_the_scales_do_not_know_are_refused() -> None:
    pooled = small_clip(vision={"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 4})
    with pytest.raises(AdapterError, match="pools or orders its tokens"):
        attach(pooled, _small("msa"), seed=0)
    with pytest.raises(AdapterError, match="has a class token behind its text"):
        attach(small_custom_clip(embed_cls=True), _small("msa"), seed=0)


def test_shapes_alone_can_be_adapted_without_memory() -> None:
    with torch.device("meta"):
        clip = CLIP(12, CLIPVisionCfg(layers=2, width=64, image_size=32), CLIPTextCfg(layers=2, width=64))
    adapted = attach(clip, design("msa"), seed=0)
    assert {parameter.device.type for parameter in adapted.parameters()} == {"meta"}
    assert adapted.added() == attach(clip, design("msa"), seed=0).added()
