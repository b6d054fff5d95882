"""Embeddings on disk, under the digest of everything that they depend on: a second evaluation embeds nothing anew."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Floats = npt.NDArray[np.float32]
ROWS = "rows"


@dataclass(frozen=True)
class EmbeddingCache:
    """Arrays in a folder, one safetensors file each. Losing files is slow, never wrong."""

    folder: Path

    def rows(self, parts: Iterable[str], compute: Callable[[], Floats]) -> Floats:
        """The array that belongs to `parts`, which must name all that decides it; `compute` is asked on a miss.

        A file that cannot be read counts as a miss.
        """
        path = self.folder / f"{digest_of(parts)}.safetensors"
        try:
            return load_file(path)[ROWS]
        except (FileNotFoundError, SafetensorError, KeyError):
            rows = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Through a file of this process alone: a kill, or a second evaluation, leaves no half-written array behind.
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        save_file({ROWS: np.ascontiguousarray(rows)}, partial)
        partial.replace(path)
        return rows


def digest_of(parts: Iterable[str]) -> str:
    """sha256 in hex of a list of strings; different lists have different digests."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
