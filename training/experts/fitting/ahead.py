"""What every step of a fit sees, prepared in time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from training.batches import epoch_order
from training.distributed import World
from training.experts.fitting.config import FitConfig
from training.experts.fitting.feed import DenseBatch, Feed, Integers


def side_of(config: FitConfig, step: int) -> int:
    """The size of a step's pictures in pixels, drawn from the configuration's."""
    return int(np.random.default_rng((config.seed, step, 2)).choice(config.sides))


def batches(feed: Feed, config: FitConfig, first: int, world: World, *, ahead: bool) -> Generator[DenseBatch]:
    """This process's part of the batch of every step from `first` to the last.

    With `ahead` a thread prepares the next batch while one is learnt from. Raises what `Feed.batch` raises, and
    `ValueError` for batches that cannot be shared out evenly.
    """

    def prepare(step: int, rows: Integers) -> DenseBatch:
        side = side_of(config, step)
        return feed.batch(rows, side=side, seed=config.seed, step=step, part=world.part(len(rows)))

    if not ahead:
        for step, rows in _steps(len(feed), config, first):
            yield prepare(step, rows)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as worker:
        waiting: Future[DenseBatch] | None = None
        for step, rows in _steps(len(feed), config, first):
            ready, waiting = waiting, worker.submit(prepare, step, rows)
            if ready is not None:
                yield ready.result()
        if waiting is not None:
            yield waiting.result()


def _steps(pictures: int, config: FitConfig, first: int) -> Iterator[tuple[int, Integers]]:
    """Every step with the numbers of its pictures; an epoch's order follows from the seed and the epoch."""
    schedule = config.schedule
    per_epoch, total = schedule.steps(pictures)
    order, order_epoch = np.empty(0, np.int64), -1
    for step in range(first, total):
        epoch, position = divmod(step, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order([""] * pictures, {}, config.seed, epoch), epoch
        yield step, order[position * schedule.batch_size :][: schedule.batch_size]
