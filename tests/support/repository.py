"""Model repositories made on the spot: real ONNX graphs of a few hundred bytes, so both engines can serve them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.model_config import ImageTowerConfig, Preprocessing, TextTowerConfig, render_config
from service.policies import Votes

CONTEXT_LENGTH = 16
OPSET = 17


@dataclass(frozen=True)
class Spec:
    """One tiny backbone: its embedding is a random projection of the mean colour, or of the token ids."""

    name: str
    image_size: int = 32
    embedding_dim: int = 8
    gflops: float = 1.0
    votes: Votes = "by_default"


DEFAULT_SPECS = (Spec("small", gflops=0.25), Spec("large", image_size=48, embedding_dim=12, gflops=1.5))


def write_repository(root: Path, specs: Sequence[Spec] = DEFAULT_SPECS) -> Path:
    """A complete model repository under `root`."""
    for spec in specs:
        _write_image_tower(root, spec)
        _write_text_tower(root, spec)
    return root


def _write_image_tower(root: Path, spec: Spec) -> None:
    size = spec.image_size
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Sub", ["mean", "grey"], ["centred"]),
        *_projection("centred"),
    ]
    constants = {"weight": _weight(spec, 3), "grey": np.full(3, 100.0, dtype=np.float32)}
    shape: list[str | int] = ["n", size, size, 3]
    _write_tower(root, spec, "image", _model(nodes, constants, "image", TensorProto.UINT8, shape, spec.embedding_dim))


def _write_text_tower(root: Path, spec: Spec) -> None:
    nodes = [helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT), *_projection("floats")]
    constants = {"weight": _weight(spec, CONTEXT_LENGTH)}
    model = _model(nodes, constants, "input_ids", TensorProto.INT64, ["n", CONTEXT_LENGTH], spec.embedding_dim)
    _write_tower(root, spec, "text", model)
    write_tokenizer(root / f"{spec.name}_text" / "tokenizer.json")


def write_tokenizer(path: Path, context_length: int = CONTEXT_LENGTH) -> None:
    """Bytes as tokens, padded and cut to the context length."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0} | {character: index + 1 for index, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token="<pad>")
    tokenizer.save(str(path))


def _weight(spec: Spec, rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, spec.embedding_dim)).astype(np.float32)


def _projection(name: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", [name, "weight"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["embedding"], axis=-1, p=2),
    ]


def _model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    input_name: str,
    input_type: int,
    shape: Sequence[str | int],
    embedding_dim: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(input_name, input_type, shape)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", embedding_dim])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _write_tower(root: Path, spec: Spec, tower: str, model: onnx.ModelProto) -> None:
    folder = root / f"{spec.name}_{tower}"
    (folder / "1").mkdir(parents=True)
    content = model.SerializeToString()
    (folder / "1" / "model.onnx").write_bytes(content)
    (folder / "config.pbtxt").write_text(render_config(tower_config(spec, tower, hashlib.sha256(content).hexdigest())))


def tower_config(spec: Spec, tower: str, sha256: str) -> ImageTowerConfig | TextTowerConfig:
    common = {
        "backbone": spec.name,
        "family": "projection",
        "embedding_dim": spec.embedding_dim,
        "logit_scale": 20.0,
        "temperature": 1.0,
        "gflops": spec.gflops,
        "sha256": sha256,
        "provenance": "made by a test",
        "votes": spec.votes,
    }
    if tower == "text":
        return TextTowerConfig(**common, tokenizer="tokenizer.json", context_length=CONTEXT_LENGTH)  # type: ignore[arg-type]  # checked by the test of render_config
    preprocessing = Preprocessing(spec.image_size, "shortest", "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return ImageTowerConfig(**common, preprocessing=preprocessing)  # type: ignore[arg-type]  # as above
