"""Building models by name: the zoo's own configurations beside every one that OpenCLIP ships."""

from pathlib import Path
from typing import TYPE_CHECKING

import open_clip
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from torch import Tensor

from training.models import trunks
from training.models.quiet import only_errors

if TYPE_CHECKING:
    from service.model_config import Preprocessing

ZOO_DIR = Path(__file__).parent / "zoo"

# Every tower of the zoo is trained under OpenAI's normalisation, in 0..1 units.
MEAN: tuple[float, float, float] = OPENAI_DATASET_MEAN
STD: tuple[float, float, float] = OPENAI_DATASET_STD


def zoo_names() -> tuple[str, ...]:
    """Names of the zoo's own configurations, sorted."""
    return tuple(sorted(path.stem for path in ZOO_DIR.glob("*.json")))


def register_zoo() -> None:
    """Make the zoo's configurations known to OpenCLIP (and, by the import above, its trunks to timm). Idempotent."""
    if trunks.__all__ and not set(zoo_names()) <= set(open_clip.list_models()):
        open_clip.add_model_config(ZOO_DIR)


def build_model(name: str) -> CLIP:
    """A randomly initialised model of the named configuration, in float32 on the CPU.

    Raises `ValueError` for an unknown name.
    """
    register_zoo()
    if name not in open_clip.list_models():
        raise ValueError(f"unknown model configuration {name!r}; the zoo's own: {', '.join(zoo_names())}")
    with only_errors():  # a random start, of which OpenCLIP warns, is what is asked for
        model = open_clip.create_model(name, pretrained=None, load_weights=False)
    if not isinstance(model, CLIP):
        raise ValueError(f"model configuration {name!r} is not a plain image-text CLIP")
    return model


def preprocessing() -> tuple[Tensor, Tensor]:
    """`MEAN` and `STD` as float32[1, 3, 1, 1] each."""
    return torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)


def image_size(name: str) -> int:
    """Side of the square images that a model configuration takes, in pixels."""
    register_zoo()
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    if not isinstance(size, int):
        raise ValueError(f"model configuration {name!r}: only square images are supported, not {size}")
    return size


def zoo_preprocessing(name: str) -> "Preprocessing":
    """How pictures become the input of one of the zoo's own configurations, in training and when served."""
    # Imported here: building a model needs none of what Triton's configuration files are read with.
    from service.model_config import Preprocessing

    return Preprocessing(
        image_size=image_size(name), resize_mode="shortest", interpolation="bicubic", mean=MEAN, std=STD
    )
