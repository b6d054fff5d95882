"""What every model repository keeps, on the embedded engine: the bundled one, and one that a recipe made.

`MODEL_REPOSITORY=FOLDER python -m pytest tests/contract/test_model_repository.py` holds any other one against it.
"""

from __future__ import annotations

import importlib.util
import io
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.deadline import Deadline
from service.engines.base import Row
from service.engines.onnx import OnnxEngine, OnnxOptions
from service.model_config import parse_config, render_config
from service.pipeline.inputs.decode import ImageLimits, decode
from service.pipeline.inputs.preprocess import RESAMPLING, preprocess
from service.pipeline.inputs.tokenize import TextTokenizer
from service.repository import Backbone, Zoo, load_zoo
from tests.conftest import ROOT, MakeApp, Serve
from tests.contract.random_zoo import OPENCLIP_NAMES, bundled_run, write_random_zoo
from tests.support.images import encoded, resize_then_crop
from tests.support.pipeline import Observations

SAMPLES = ROOT / "service/playground/samples"
LIMITS = ImageLimits(max_bytes=50_000_000, max_pixels=50_000_000)
TEXTS = ["a photo of a cat", "Two dogs, one ball!", "", "x " * 500, "naïve café 日本語 🙂"]
# Triton 24.10 carries ONNX Runtime 1.19: later operator sets would be refused by it.
TRITON_OPSET, TRITON_IR = 21, 10
# Above these, making and decoding the pictures takes longer than all the rest.
MANY_PICTURES_UP_TO, MAX_DECODED_PIXELS = 96, 8_000_000

OTHER = os.environ.get("MODEL_REPOSITORY")
NEEDS_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the training extra")
REPOSITORIES = (
    [OTHER] if OTHER else ["bundled", pytest.param("made by a recipe", marks=[pytest.mark.torch, NEEDS_TORCH])]
)


@pytest.fixture(scope="module")
def made_by_a_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module", params=REPOSITORIES)
def repository(request: pytest.FixtureRequest) -> Path:
    if request.param == "made by a recipe":
        made: Path = request.getfixturevalue("made_by_a_recipe")
        return made
    return ROOT / "model_repository" if request.param == "bundled" else Path(request.param)


@pytest.fixture(scope="module")
def zoo(repository: Path) -> Zoo:
    return load_zoo(repository)


@pytest.fixture
async def engine(zoo: Zoo) -> AsyncIterator[OnnxEngine]:
    engine = OnnxEngine(zoo, OnnxOptions(("CPUExecutionProvider",), intra_op_threads=1, max_batch=8), Observations())
    await engine.start()
    yield engine
    await engine.close()


async def embed(engine: OnnxEngine, tower: str, rows: list[Row]) -> NDArray[np.float32]:
    outcomes = await engine.embed(tower, rows, Deadline.after(120))
    return np.stack([outcome for outcome in outcomes if isinstance(outcome, np.ndarray)])


async def embed_pictures(engine: OnnxEngine, backbone: Backbone, pictures: list[Image.Image]) -> NDArray[np.float32]:
    return await embed(
        engine, backbone.image.name, [preprocess(picture, backbone.preprocessing) for picture in pictures]
    )


def sample_pictures(zoo: Zoo) -> list[Image.Image]:
    paths = sorted(SAMPLES.glob("*.webp"))
    chosen = paths if zoo.largest_image_size <= MANY_PICTURES_UP_TO else paths[:: len(paths) // 4]
    return [Image.open(path).convert("RGB") for path in chosen]


def with_grain(picture: Image.Image) -> Image.Image:
    """Detail at the scale of single pixels, which an enlarged picture lacks: the hard case for reduced decoding."""
    pixels = np.asarray(picture).astype(np.int16)
    grain = np.random.default_rng(0).integers(-12, 13, pixels.shape, dtype=np.int16)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def is_int8(backbone: Backbone) -> bool:
    """Such a tower rounds its activations, so even a grey level can move an embedding by a step."""
    nodes = onnx.load(backbone.image.model_path).graph.node
    return any(node.op_type == "QuantizeLinear" for node in nodes)


def sizes_that_are_reduced(target: int) -> list[tuple[int, int]]:
    """Pictures that a decoder may reduce by 2 or 4, some of them not square."""
    sizes = [(8 * target, 8 * target), (25 * target, 75 * target // 4), (16 * target, 16 * target + 4)]
    sizes.append((32 * target, 32 * target + 8))
    return [(width, height) for width, height in sizes if width * height <= MAX_DECODED_PIXELS]


def test_it_holds_folders_that_triton_loads_and_no_others(repository: Path, zoo: Zoo) -> None:
    folders = {path.name for path in repository.iterdir() if path.is_dir()}
    assert folders == {f"{name}_{tower}" for name in zoo.names for tower in ("image", "text")}
    for folder in folders:
        files = {str(path.relative_to(repository / folder)) for path in (repository / folder).rglob("*")}
        extra = {"tokenizer.json"} if folder.endswith("_text") else set()
        assert files == {"config.pbtxt", "1", "1/model.onnx"} | extra


def test_configurations_are_what_their_types_render(repository: Path) -> None:
    for path in repository.glob("*/config.pbtxt"):
        text = path.read_text(encoding="utf-8")
        assert render_config(parse_config(text, str(path))) == text


def test_graphs_take_and_give_what_their_configurations_say(zoo: Zoo) -> None:
    for backbone in zoo.backbones:
        size = backbone.preprocessing.image_size
        pixels, ids = onnx.TensorProto.UINT8, onnx.TensorProto.INT64
        _check_tensors(backbone.image.model_path, "image", pixels, [size, size, 3], backbone.embedding_dim)
        length = [backbone.text.config.context_length]
        _check_tensors(backbone.text.model_path, "input_ids", ids, length, backbone.embedding_dim)


def _check_tensors(path: Path, name: str, kind: int, dims: list[int], width: int) -> None:
    model = onnx.load(path)
    described = [
        (tensor.name, tensor.type.tensor_type.elem_type, [d.dim_value for d in tensor.type.tensor_type.shape.dim][1:])
        for tensor in (*model.graph.input, *model.graph.output)
    ]
    assert described == [(name, kind, dims), ("embedding", onnx.TensorProto.FLOAT, [width])], path
    batch_axes = {tensor.type.tensor_type.shape.dim[0].dim_param for tensor in model.graph.input}
    assert batch_axes != {""}, f"{path}: the batch size is fixed"
    assert model.ir_version <= TRITON_IR
    assert all(entry.version <= TRITON_OPSET for entry in model.opset_import if not entry.domain)


async def test_embeddings_are_unit_rows_of_the_promised_width(zoo: Zoo, engine: OnnxEngine) -> None:
    for backbone in zoo.backbones:
        pictures = await embed_pictures(engine, backbone, sample_pictures(zoo))
        texts = await embed(engine, backbone.text.name, list(TextTokenizer(backbone.text)(TEXTS)))
        for rows in (pictures, texts):
            assert (rows.shape[1], rows.dtype.name) == (backbone.embedding_dim, "float32")
            assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


async def test_different_pictures_and_different_texts_have_different_embeddings(zoo: Zoo, engine: OnnxEngine) -> None:
    for backbone in zoo.backbones:
        pictures = await embed_pictures(engine, backbone, sample_pictures(zoo))
        texts = await embed(engine, backbone.text.name, list(TextTokenizer(backbone.text)(TEXTS)))
        for rows in (pictures, texts):
            others = (rows @ rows.T)[~np.eye(len(rows), dtype=bool)]
            assert others.max() < 0.9999, backbone.name


async def test_an_embedding_does_not_depend_on_its_batch(zoo: Zoo, engine: OnnxEngine) -> None:
    for backbone in zoo.backbones:
        pictures: list[Row] = [preprocess(picture, backbone.preprocessing) for picture in sample_pictures(zoo)]
        texts: list[Row] = list(TextTokenizer(backbone.text)(TEXTS))
        for tower, rows in ((backbone.image.name, pictures), (backbone.text.name, texts)):
            together = await embed(engine, tower, rows)
            alone = np.concatenate([await embed(engine, tower, [row]) for row in rows])
            assert np.abs(together - alone).max() < 1e-5, tower


async def test_decoding_at_reduced_scale_keeps_the_embedding(zoo: Zoo, engine: OnnxEngine) -> None:
    sizes = sizes_that_are_reduced(zoo.largest_image_size)
    assert sizes
    for size in sizes:
        for picture in sample_pictures(zoo):
            data = encoded(with_grain(picture.resize(size, Image.Resampling.BICUBIC)), quality=92)
            reduced = decode(data, LIMITS, zoo.largest_image_size)
            full = Image.open(io.BytesIO(data)).convert("RGB")
            assert reduced.width < full.width
            for backbone in zoo.backbones:
                one, other = await embed_pictures(engine, backbone, [reduced, full])
                assert float(one @ other) >= 0.999, (backbone.name, size)


@pytest.mark.parametrize("size", [(500, 375), (107, 80), (80, 107), (333, 77)])
async def test_resizing_and_cropping_in_one_pass_keeps_the_embedding(
    zoo: Zoo, engine: OnnxEngine, size: tuple[int, int]
) -> None:
    for backbone in zoo.backbones:
        preprocessing = backbone.preprocessing
        if preprocessing.crop == "none":
            continue  # nothing is cut, so one pass is all there is
        limit = 0.999 if is_int8(backbone) else 0.9999
        for picture in sample_pictures(zoo):
            resized = picture.resize(size, Image.Resampling.BICUBIC)
            plain = resize_then_crop(resized, preprocessing.image_size, RESAMPLING[preprocessing.interpolation])
            one, other = await embed_pictures(engine, backbone, [resized, Image.fromarray(plain)])
            assert float(one @ other) >= limit, backbone.name


def test_any_text_becomes_as_many_ids_as_the_tower_takes(zoo: Zoo) -> None:
    for backbone in zoo.backbones:
        ids = TextTokenizer(backbone.text)(TEXTS)
        assert ids.shape == (len(TEXTS), backbone.text.config.context_length)
        assert ids.min() >= 0


async def test_the_whole_committee_answers(repository: Path, zoo: Zoo, make_app: MakeApp, serve: Serve) -> None:
    async with serve(make_app(engine="onnx", model_repository=repository)) as client:
        picture = (SAMPLES / "cap.webp").read_bytes()
        request = '{"labels": ["a cap", "a shoe", "a banana"], "policy": "mean"}'
        response = await client.post("/v1/classify", files={"images": picture}, data={"request": request})
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    assert set(result["backbones"]) == set(zoo.committee.names)
    assert not result["degraded"]
    assert math.isclose(sum(entry["probability"] for entry in result["predictions"]), 1, abs_tol=1e-4)
    assert result["gflops"] == pytest.approx(zoo.committee.gflops)


@pytest.mark.torch
@NEEDS_TORCH
@pytest.mark.skipif(OTHER is not None, reason="another repository was asked for")
def test_a_recipe_gives_what_it_names(made_by_a_recipe: Path) -> None:
    zoo = load_zoo(made_by_a_recipe)
    assert sorted(zoo.names) == sorted((*OPENCLIP_NAMES, f"{bundled_run()}-random"))
    squashed = {backbone.name for backbone in zoo.backbones if backbone.preprocessing.resize_mode == "squash"}
    assert squashed == {"tiny-siglip-webli-random"}
    for backbone in zoo.backbones:
        for tower in (backbone.image, backbone.text):
            assert "licence: none: random weights" in tower.config.provenance
