from __future__ import annotations

import dataclasses

import pytest

from service.errors import RepositoryError
from service.model_config import ImageTowerConfig, TextTowerConfig, parse_config, render_config
from tests.support.repository import Spec, tower_config

IMAGE = tower_config(Spec("small"), "image", "a" * 64)
TEXT = tower_config(Spec("small"), "text", "b" * 64)


@pytest.mark.parametrize("config", [IMAGE, TEXT], ids=["image", "text"])
def test_what_is_rendered_is_parsed_back(config: ImageTowerConfig | TextTowerConfig) -> None:
    assert parse_config(render_config(config), "config.pbtxt") == config


def test_batching_and_instances_survive_the_round_trip() -> None:
    config = dataclasses.replace(IMAGE, max_batch_size=7, instances=3, dynamic_batching=False)
    assert parse_config(render_config(config), "config.pbtxt") == config


def test_fields_that_belong_to_triton_are_left_to_triton() -> None:
    text = render_config(IMAGE) + '\nversion_policy { latest { num_versions: 1 } }\nsome_future_field: "x"\n'
    assert parse_config(text, "config.pbtxt") == IMAGE


def test_parameters_without_our_prefix_are_left_alone() -> None:
    text = render_config(IMAGE) + '\nparameters { key: "intra_op_thread_count" value { string_value: "1" } }\n'
    assert parse_config(text, "config.pbtxt") == IMAGE


def test_whether_a_backbone_votes_survives_the_round_trip_and_what_is_usual_is_not_written() -> None:
    config = dataclasses.replace(TEXT, votes="when_asked")
    assert parse_config(render_config(config), "config.pbtxt") == config
    assert "quorum.votes" not in render_config(TEXT)
    with pytest.raises(RepositoryError, match=r'quorum\.votes: "never" is not one of by_default, when_asked'):
        parse_config(render_config(config).replace("when_asked", "never"), "config.pbtxt")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('key: "quorum.gflops"', 'key: "quorum.gflop"', "quorum.gflops: missing"),
        ('key: "quorum.std"', 'key: "std"', "quorum.std: missing"),
        ('string_value: "bicubic"', 'string_value: "nearest"', 'quorum.interpolation: "nearest" is not one of'),
        ('string_value: "center"', 'string_value: "none"', "quorum.crop"),
        ('string_value: "image"', 'string_value: "audio"', 'quorum.tower: "audio" is not one of'),
        ('string_value: "0.5,0.5,0.5"', 'string_value: "0.5,0.5"', "quorum.mean: needs three numbers"),
        ('string_value: "20.0"', 'string_value: "warm"', 'quorum.logit_scale: "warm" is not a number'),
        ('string_value: "20.0"', 'string_value: "-1"', "quorum.logit_scale: -1.0 must be positive"),
        ('string_value: "20.0"', 'string_value: "nan"', "quorum.logit_scale: nan must be positive"),
        ("TYPE_UINT8", "TYPE_FP32", 'input must be "image" TYPE_UINT8 [32, 32, 3]'),
        ('name: "embedding"', 'name: "out"', 'output must be "embedding" TYPE_FP32 [8]'),
        ('name: "small_image"', 'name: "other"', 'quorum.backbone and quorum.tower say "small_image"'),
        ("platform:", "!!", "not a Triton model configuration"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(before: str, after: str, complaint: str) -> None:
    text = render_config(IMAGE)
    assert before in text
    with pytest.raises(RepositoryError) as caught:
        parse_config(text.replace(before, after, 1), "zoo/config.pbtxt")
    assert caught.value.message.startswith("zoo/config.pbtxt")
    assert complaint in caught.value.message


def test_an_unknown_key_of_ours_is_an_error() -> None:
    text = render_config(TEXT) + '\nparameters { key: "quorum.color" value { string_value: "red" } }\n'
    with pytest.raises(RepositoryError, match=r"quorum\.color: unknown key; known: .*tokenizer"):
        parse_config(text, "config.pbtxt")


def test_a_tokenizer_outside_the_folder_is_refused() -> None:
    text = render_config(TEXT).replace("tokenizer.json", "../../etc/passwd")
    with pytest.raises(RepositoryError, match="must be the name of a file beside"):
        parse_config(text, "config.pbtxt")
