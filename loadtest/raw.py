"""The plain baseline: ONNX Runtime's `session.run` in this process, on the very tensors that the JPEGs become.

No HTTP, no decode, no batching by arrival, no thread hand-over: what a gateway could reach if it cost nothing.
"""

from __future__ import annotations

import io
import mmap
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

IMAGE_SUFFIX = "_image"
ERRORS_ONLY = 3
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one session is run: by `workers` callers, with `threads` intra-op threads, on `batch` images each."""

    threads: int
    workers: int
    batch: int

    def __str__(self) -> str:
        return f"{self.workers} callers x {self.threads} threads, batch {self.batch}"


class RawTower:
    """One image tower of a model repository, opened as a plain session.

    Spinning is off, as in the gateway: both live on the same cores, and a spinning pool would slow the other one down.
    """

    def __init__(self, repository: Path, backbone: str, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = model_path(repository, backbone)
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self.image_size = int(self._input.shape[1])

    def run(self, images: Pixels) -> NDArray[np.float32]:
        """uint8[n, size, size, 3] to float32[n, d]."""
        (embeddings,) = self._session.run(None, {self._input.name: images})
        return np.asarray(embeddings)


def by_size(repository: Path) -> list[str]:
    """Backbones by the size of their image towers' files, smallest first."""
    return sorted(backbones(repository), key=lambda name: model_path(repository, name).stat().st_size)


def model_path(repository: Path, backbone: str) -> Path:
    return repository / f"{backbone}{IMAGE_SUFFIX}" / "1" / "model.onnx"


def backbones(repository: Path) -> list[str]:
    """The names of the repository's backbones, in alphabetical order."""
    return sorted(path.parents[1].name.removesuffix(IMAGE_SUFFIX) for path in repository.glob("*_image/1/model.onnx"))


def precision(repository: Path) -> str:
    """What the image towers compute in, by the operators in their graphs: int8, float16, float32 or mixed."""
    found = {_graph_precision(model_path(repository, backbone)) for backbone in backbones(repository)}
    return found.pop() if len(found) == 1 else "mixed"


def _graph_precision(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as graph:
        return "int8" if graph.find(b"QuantizeLinear") >= 0 or graph.find(b"MatMulInteger") >= 0 else "float32"


def tensor(jpeg: bytes, size: int) -> Pixels:
    """uint8[size, size, 3]: the shorter side resized to `size` (bicubic), the centre cut out."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        scale = size / min(picture.size)
        width, height = round(picture.width * scale), round(picture.height * scale)
        resized = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def tensors(jpegs: Sequence[bytes], size: int) -> Pixels:
    """uint8[n, size, size, 3]."""
    return np.stack([tensor(jpeg, size) for jpeg in jpegs])


def throughput(tower: RawTower, images: Pixels, layout: Layout, duration_s: float) -> float:
    """Images per second of `layout.workers` threads that call `run` back to back for `duration_s` seconds.

    `images` is uint8[n, size, size, 3] with n at least the batch size; the workers go round it.
    """
    starts = range(0, len(images) - layout.batch + 1, layout.batch)
    batches = [np.ascontiguousarray(images[start : start + layout.batch]) for start in starts]
    tower.run(batches[0])
    done = [0] * layout.workers
    finished_s = [0.0] * layout.workers
    started_s = time.perf_counter()

    def work(worker: int) -> None:
        turn = worker
        while time.perf_counter() - started_s < duration_s:
            tower.run(batches[turn % len(batches)])
            done[worker] += layout.batch
            turn += layout.workers
        finished_s[worker] = time.perf_counter() - started_s

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(layout.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(count / elapsed_s for count, elapsed_s in zip(done, finished_s, strict=True))
