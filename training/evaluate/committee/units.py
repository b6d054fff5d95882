"""Units of work: independent, each computed by one process on one BLAS thread and kept on disk as JSON.

A suite that was killed computes only what it had not finished; one whose zoo, pictures or parameters changed finds
nothing of the old ones.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from service.blas import one_blas_thread
from training.evaluate.cache import digest_of


@dataclass(frozen=True)
class Unit:
    """`name` is for people and begins the file's name; `key` names all that decides the result, the version of the
    code included; `work` computes it: a JSON value, and a callable that can be sent to another process."""

    name: str
    key: tuple[str, ...]
    work: Callable[[], Any]

    def path(self, folder: Path) -> Path:
        return folder / f"{self.name}-{digest_of(self.key)[:24]}.json"


def run_units(units: Sequence[Unit], folder: Path, *, workers: int, progress: Callable[[str], None]) -> list[Any]:
    """The results of `units`, in their order, from `folder` where they are known.

    With `workers` below 2 everything is computed in this process. An error in one unit ends the others and is raised.
    """
    found = [_known(unit.path(folder)) for unit in units]
    missing = [place for place, value in enumerate(found) if value is None]
    if len(missing) < len(units):
        progress(f"{len(units) - len(missing)} of {len(units)} units were found in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    for done, (place, value) in enumerate(_computed(units, missing, workers), start=1):
        _keep(units[place].path(folder), value)
        found[place] = [value]
        progress(f"{done} of {len(missing)}: {units[place].name}")
    return [value[0] for value in found if value is not None]


def _computed(units: Sequence[Unit], missing: Sequence[int], workers: int) -> Iterator[tuple[int, Any]]:
    """Pairs of place and result, as they are ready."""
    if workers < 2 or len(missing) < 2:
        for place in missing:
            yield place, _run(units[place])
        return
    # New processes, not forks: this one may hold the threads of ONNX Runtime and torch.
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_run, units[place]): place for place in missing}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run(unit: Unit) -> Any:
    with one_blas_thread():
        # As it will be read again, so that a first run and a resumed one report the same.
        return json.loads(json.dumps(unit.work()))


def _known(path: Path) -> list[Any] | None:
    """The value in a list of one; null where there is no file, or none that can be read."""
    try:
        return [json.loads(path.read_bytes())]
    except (FileNotFoundError, ValueError):
        return None


def _keep(path: Path, value: Any) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(path)
