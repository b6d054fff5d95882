"""One tower's `config.pbtxt`: the types, and both directions between them and Triton's text format.

Everything the gateway must know about a tower travels in `parameters` under keys that start with `quorum.`. Training
renders this file, the gateway parses it, Triton reads it unchanged. Triton's own fields are left to Triton, apart from
`max_batch_size`, `dynamic_batching` and `instance_group`, which the embedded engine honours as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from service.errors import RepositoryError
from service.policies import Votes

Tower = Literal["image", "text"]
ResizeMode = Literal["shortest", "squash"]
Crop = Literal["center", "none"]
Interpolation = Literal["bicubic", "bilinear"]

PREFIX = "quorum."
CROP_OF: Mapping[ResizeMode, Crop] = {"shortest": "center", "squash": "none"}
COMMON_KEYS: tuple[str, ...] = ("backbone", "tower", "family", "embedding_dim", "logit_scale", "temperature")
COMMON_KEYS += ("gflops", "sha256", "provenance")
IMAGE_KEYS = ("image_size", "resize_mode", "crop", "interpolation", "mean", "std")
TEXT_KEYS = ("tokenizer", "context_length")
OPTIONAL_KEYS = ("votes",)
"""May be left out, and are where they say what is usual: files of before they existed say the same."""

T = TypeVar("T")
Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an RGB picture becomes `uint8[image_size, image_size, 3]`, and how the graph normalises it.

    `shortest` resizes the shorter side to `image_size` and cuts the centre; `squash` resizes both sides and cuts
    nothing. `mean` and `std` are per channel, in units of 0..1; they are applied inside the graph.
    """

    image_size: int
    resize_mode: ResizeMode
    interpolation: Interpolation
    mean: Channels
    std: Channels

    @property
    def crop(self) -> Crop:
        """What the resize mode implies; written out because a reader of the file should not have to know."""
        return CROP_OF[self.resize_mode]

    @property
    def geometry(self) -> str:
        """Equal for towers that can share one resized picture (normalisation happens in each graph)."""
        return f"{self.resize_mode}-{self.image_size}-{self.interpolation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerConfig:
    """What both towers of a backbone say about themselves.

    `gflops` is the cost of one item in 10^9 floating-point operations (2 per multiply-add). `temperature` divides the
    backbone's logits `logit_scale * cosine`. `sha256` is the hex digest of `1/model.onnx`. `votes` `when_asked`: the
    backbone is no member of the committee, and only asked by callers that name it.
    """

    backbone: str
    family: str
    embedding_dim: int
    logit_scale: float
    temperature: float
    gflops: float
    sha256: str
    provenance: str
    votes: Votes = "by_default"
    max_batch_size: int = 64
    instances: int = 2
    dynamic_batching: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTowerConfig(TowerConfig):
    preprocessing: Preprocessing

    @property
    def model_name(self) -> str:
        return f"{self.backbone}_image"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTowerConfig(TowerConfig):
    tokenizer: str
    context_length: int

    @property
    def model_name(self) -> str:
        return f"{self.backbone}_text"


def render_config(config: ImageTowerConfig | TextTowerConfig) -> str:
    """The text of `config.pbtxt`; `parse_config` of it gives `config` back."""
    model = pb.ModelConfig(name=config.model_name, platform="onnxruntime_onnx", max_batch_size=config.max_batch_size)
    parameters = _common_parameters(config)
    if isinstance(config, ImageTowerConfig):
        size = config.preprocessing.image_size
        model.input.add(name="image", data_type=pb.TYPE_UINT8, dims=[size, size, 3])
        parameters |= _preprocessing_parameters(config.preprocessing)
    else:
        model.input.add(name="input_ids", data_type=pb.TYPE_INT64, dims=[config.context_length])
        parameters |= {"tokenizer": config.tokenizer, "context_length": str(config.context_length)}
    model.output.add(name="embedding", data_type=pb.TYPE_FP32, dims=[config.embedding_dim])
    model.instance_group.add(count=config.instances, kind=pb.ModelInstanceGroup.KIND_AUTO)
    if config.dynamic_batching:
        model.dynamic_batching.max_queue_delay_microseconds = 0
        model.dynamic_batching.SetInParent()
    _add_warmup(model)
    for key, value in parameters.items():
        model.parameters[PREFIX + key].string_value = value
    return str(text_format.MessageToString(model))


def _add_warmup(model: pb.ModelConfig) -> None:
    """One row of zeros at the start: what is made with the first batch is made before callers come."""
    sample = model.model_warmup.add(name="first", batch_size=1)
    for tensor in model.input:
        zeros = sample.inputs[tensor.name]
        zeros.data_type, zeros.zero_data = tensor.data_type, True
        zeros.dims.extend(tensor.dims)


def parse_config(text: str, path: str) -> ImageTowerConfig | TextTowerConfig:
    """Read a tower's `config.pbtxt`.

    `path` only names the file in errors. Raises `RepositoryError` for text that is not a model configuration, for a
    missing, unknown or malformed `quorum.` key, and for tensors other than the ones every tower has.
    """
    model = _parse_model(text, path)
    parameters = {
        key.removeprefix(PREFIX): p.string_value for key, p in model.parameters.items() if key.startswith(PREFIX)
    }
    reader = _KeyReader(parameters, path)
    tower: Tower = reader.one_of("tower", Tower)
    reader.check_keys(COMMON_KEYS + (IMAGE_KEYS if tower == "image" else TEXT_KEYS))
    common = TowerConfig(
        backbone=reader.text("backbone"),
        family=reader.text("family"),
        embedding_dim=reader.positive_int("embedding_dim"),
        logit_scale=reader.positive_float("logit_scale"),
        temperature=reader.positive_float("temperature"),
        gflops=reader.positive_float("gflops"),
        sha256=reader.text("sha256"),
        provenance=reader.text("provenance"),
        votes=reader.one_of("votes", Votes) if "votes" in parameters else "by_default",
        max_batch_size=max(1, model.max_batch_size),
        instances=max(1, sum(max(1, group.count) for group in model.instance_group)),
        dynamic_batching=model.HasField("dynamic_batching"),
    )
    config = _image_config(common, reader) if tower == "image" else _text_config(common, reader)
    _check_tensors(model, config, path)
    return config


def _parse_model(text: str, path: str) -> pb.ModelConfig:
    try:
        return text_format.Parse(text, pb.ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise RepositoryError(f"{path}: not a Triton model configuration: {error}") from error


def _common_fields(common: TowerConfig) -> dict[str, object]:
    return {name: getattr(common, name) for name in TowerConfig.__dataclass_fields__}


def _image_config(common: TowerConfig, reader: _KeyReader) -> ImageTowerConfig:
    preprocessing = Preprocessing(
        image_size=reader.positive_int("image_size"),
        resize_mode=reader.one_of("resize_mode", ResizeMode),
        interpolation=reader.one_of("interpolation", Interpolation),
        mean=reader.channels("mean"),
        std=reader.channels("std"),
    )
    if reader.one_of("crop", Crop) != preprocessing.crop:
        reader.fail("crop", f'"{preprocessing.resize_mode}" resizing goes with crop "{preprocessing.crop}"')
    return ImageTowerConfig(**_common_fields(common), preprocessing=preprocessing)  # type: ignore[arg-type]  # the fields of its own base class


def _text_config(common: TowerConfig, reader: _KeyReader) -> TextTowerConfig:
    return TextTowerConfig(
        **_common_fields(common),  # type: ignore[arg-type]  # the fields of its own base class
        tokenizer=reader.file_name("tokenizer"),
        context_length=reader.positive_int("context_length"),
    )


def _check_tensors(model: pb.ModelConfig, config: ImageTowerConfig | TextTowerConfig, path: str) -> None:
    if isinstance(config, ImageTowerConfig):
        size = config.preprocessing.image_size
        expected = ("image", pb.TYPE_UINT8, [size, size, 3])
    else:
        expected = ("input_ids", pb.TYPE_INT64, [config.context_length])
    inputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in model.input]
    outputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in model.output]
    if inputs != [expected]:
        raise RepositoryError(f"{path}: input must be {_tensor_text(*expected)} and nothing else")
    if outputs != [("embedding", pb.TYPE_FP32, [config.embedding_dim])]:
        wanted = _tensor_text("embedding", pb.TYPE_FP32, [config.embedding_dim])
        raise RepositoryError(f"{path}: output must be {wanted} and nothing else")
    if model.name not in ("", config.model_name):
        raise RepositoryError(
            f'{path}: name is "{model.name}", quorum.backbone and quorum.tower say "{config.model_name}"'
        )


def _tensor_text(name: str, data_type: int, dims: list[int]) -> str:
    return f'"{name}" {pb.DataType.Name(data_type)} {dims}'


def _common_parameters(config: ImageTowerConfig | TextTowerConfig) -> dict[str, str]:
    votes = {} if config.votes == "by_default" else {"votes": config.votes}
    return votes | {
        "backbone": config.backbone,
        "tower": "image" if isinstance(config, ImageTowerConfig) else "text",
        "family": config.family,
        "embedding_dim": str(config.embedding_dim),
        "logit_scale": repr(config.logit_scale),
        "temperature": repr(config.temperature),
        "gflops": repr(config.gflops),
        "sha256": config.sha256,
        "provenance": config.provenance,
    }


def _preprocessing_parameters(preprocessing: Preprocessing) -> dict[str, str]:
    return {
        "image_size": str(preprocessing.image_size),
        "resize_mode": preprocessing.resize_mode,
        "crop": preprocessing.crop,
        "interpolation": preprocessing.interpolation,
        "mean": ",".join(map(repr, preprocessing.mean)),
        "std": ",".join(map(repr, preprocessing.std)),
    }


class _KeyReader:
    """Typed access to one file's `quorum.` keys; every error names the file and the key."""

    def __init__(self, parameters: Mapping[str, str], path: str) -> None:
        self._parameters = parameters
        self._path = path

    def fail(self, key: str, problem: str) -> None:
        raise RepositoryError(f"{self._path}: {PREFIX}{key}: {problem}")

    def check_keys(self, known: tuple[str, ...]) -> None:
        for key in sorted(set(known) - set(self._parameters)):
            self.fail(key, "missing")
        for key in sorted(set(self._parameters) - {*known, *OPTIONAL_KEYS}):
            self.fail(key, f"unknown key; known: {', '.join(sorted([*known, *OPTIONAL_KEYS]))}")

    def text(self, key: str) -> str:
        value = self._parameters.get(key, "")
        if not value:
            self.fail(key, "missing")
        return value

    def file_name(self, key: str) -> str:
        name = self.text(key)
        if "/" in name or name.startswith("."):
            self.fail(key, f'"{name}" must be the name of a file beside config.pbtxt')
        return name

    def one_of(self, key: str, choices: object) -> T:  # type: ignore[type-var]  # the caller's annotation names the Literal
        value = self.text(key)
        allowed = get_args(choices)
        if value not in allowed:
            self.fail(key, f'"{value}" is not one of {", ".join(allowed)}')
        return value  # type: ignore[return-value]  # checked against the Literal's members above

    def _number(self, key: str, convert: Callable[[str], T]) -> T:
        try:
            return convert(self.text(key))
        except ValueError:
            self.fail(key, f'"{self._parameters[key]}" is not a number')
            raise

    def positive_int(self, key: str) -> int:
        value = self._number(key, int)
        if value <= 0:
            self.fail(key, f"{value} must be positive")
        return value

    def positive_float(self, key: str) -> float:
        value = self._number(key, float)
        if not 0 < value < float("inf"):
            self.fail(key, f"{value} must be positive and finite")
        return value

    def channels(self, key: str) -> Channels:
        parts = self._number(key, lambda text: tuple(float(part) for part in text.split(",")))
        if len(parts) != 3:
            self.fail(key, f"needs three numbers, one per channel, found {len(parts)}")
        return parts[0], parts[1], parts[2]
