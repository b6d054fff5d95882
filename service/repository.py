"""Reads a model repository: which backbones it holds, and that its files are the ones their configurations name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import RepositoryError, UnknownBackboneError
from service.model_config import ImageTowerConfig, Preprocessing, TextTowerConfig, parse_config
from service.policies import Votes

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ImageTower:
    config: ImageTowerConfig
    model_path: Path

    @property
    def name(self) -> str:
        return self.config.model_name

    @property
    def digest(self) -> str:
        return self.config.sha256


@dataclass(frozen=True, slots=True)
class TextTower:
    config: TextTowerConfig
    model_path: Path
    tokenizer_path: Path
    digest: str
    """Of the graph and of the tokenizer: a text's embedding depends on both."""

    @property
    def name(self) -> str:
        return self.config.model_name


@dataclass(frozen=True, slots=True)
class Backbone:
    """One CLIP: two towers that share an embedding space."""

    image: ImageTower
    text: TextTower

    @property
    def name(self) -> str:
        return self.image.config.backbone

    @property
    def family(self) -> str:
        return self.image.config.family

    @property
    def embedding_dim(self) -> int:
        return self.image.config.embedding_dim

    @property
    def logit_scale(self) -> float:
        return self.image.config.logit_scale

    @property
    def temperature(self) -> float:
        return self.image.config.temperature

    @property
    def gflops(self) -> float:
        """Cost of one image (a text's cost is paid once per label set)."""
        return self.image.config.gflops

    @property
    def votes(self) -> Votes:
        """Whether it is a member of the committee."""
        return self.image.config.votes

    @property
    def preprocessing(self) -> Preprocessing:
        return self.image.config.preprocessing


@dataclass(frozen=True, slots=True)
class Zoo:
    """Backbones, cheapest first (ties by name): the file system decides nothing."""

    backbones: tuple[Backbone, ...]

    @property
    def committee(self) -> Zoo:
        """Those that vote where nobody is named."""
        return Zoo(tuple(backbone for backbone in self.backbones if backbone.votes == "by_default"))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(backbone.name for backbone in self.backbones)

    @property
    def gflops(self) -> float:
        """What asking all of them costs, per image."""
        return sum(backbone.gflops for backbone in self.backbones)

    @property
    def embedding_dim(self) -> int:
        """Width of their embedding together, the concatenation of all."""
        return sum(backbone.embedding_dim for backbone in self.backbones)

    @property
    def largest_image_size(self) -> int:
        return max(backbone.preprocessing.image_size for backbone in self.backbones)

    @property
    def digest(self) -> str:
        parts = [part for backbone in self.backbones for part in (backbone.image.digest, backbone.text.digest)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def select(self, names: Sequence[str] | None) -> tuple[Backbone, ...]:
        """The named backbones in the zoo's own order, the committee for None. Raises `UnknownBackboneError`."""
        if names is None:
            return self.committee.backbones
        for name in names:
            if name not in self.names:
                known = ", ".join(self.names)
                raise UnknownBackboneError(
                    f'There is no backbone "{name}". This server has: {known}.', param="backbones"
                )
        return tuple(backbone for backbone in self.backbones if backbone.name in names)


def load_zoo(root: Path) -> Zoo:
    """Read every tower under `root`, pair them up and verify the digests of their ONNX files.

    Raises `RepositoryError`, naming the file and the key, for anything that must not be served.
    """
    if not root.is_dir():
        raise RepositoryError(f"{root}: no such folder; QUORUM_MODEL_REPOSITORY must name a model repository")
    images: dict[str, ImageTower] = {}
    texts: dict[str, TextTower] = {}
    for config_path in sorted(root.glob("*/config.pbtxt")):
        tower = _load_tower(config_path)
        if isinstance(tower, ImageTower):
            images[tower.config.backbone] = tower
        else:
            texts[tower.config.backbone] = tower
    if not images and not texts:
        raise RepositoryError(f"{root}: no model folder with a config.pbtxt in it")
    for name in sorted(images.keys() ^ texts.keys()):
        missing = "text" if name in images else "image"
        raise RepositoryError(f"{root / f'{name}_{missing}'}: missing; a backbone needs an image and a text tower")
    backbones = [_pair(images[name], texts[name]) for name in images]
    zoo = Zoo(tuple(sorted(backbones, key=lambda backbone: (backbone.gflops, backbone.name))))
    if not zoo.committee.backbones:
        raise RepositoryError(f"{root}: quorum.votes is when_asked for every backbone; the committee needs a member")
    return zoo


def _load_tower(config_path: Path) -> ImageTower | TextTower:
    folder = config_path.parent
    config = parse_config(config_path.read_text(encoding="utf-8"), str(config_path))
    if folder.name != config.model_name:
        raise RepositoryError(f'{folder}: the folder of this tower must be called "{config.model_name}"')
    model_path = folder / "1" / "model.onnx"
    digest = _sha256(model_path)
    if digest != config.sha256:
        raise RepositoryError(
            f"{model_path}: its sha256 is {digest}, but quorum.sha256 in {config_path} says {config.sha256}; "
            "the file is damaged or was replaced: export the backbone again"
        )
    if isinstance(config, ImageTowerConfig):
        return ImageTower(config, model_path)
    tokenizer_path = folder / config.tokenizer
    both = hashlib.sha256(f"{digest}\n{_sha256(tokenizer_path)}".encode()).hexdigest()
    return TextTower(config, model_path, tokenizer_path, both)


def _pair(image: ImageTower, text: TextTower) -> Backbone:
    for field in ("embedding_dim", "logit_scale", "temperature", "family", "votes"):
        ours, theirs = getattr(image.config, field), getattr(text.config, field)
        if ours != theirs:
            raise RepositoryError(
                f"{text.model_path.parents[1] / 'config.pbtxt'}: quorum.{field} is {theirs}, "
                f"the image tower of {image.config.backbone} says {ours}"
            )
    return Backbone(image, text)


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise RepositoryError(f"{path}: missing; export the backbone again or remove its folder")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
