"""Every task's pictures as the zoo sees them, in three pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.pipeline.logits import cosines
from service.repository import Zoo, load_zoo
from tests.support.repository import Spec, write_repository
from tests.unit.training.tiny_data import Item, write_source
from training.data.splits import Split
from training.evaluate.committee.pools import TaskPools, open_pools, spread
from training.evaluate.members import Member, open_members
from training.evaluate.suites.zoo import task_logits
from training.evaluate.tasks import labelled_tasks

pytestmark = pytest.mark.torch

WORDS = ("apple", "bear", "chair")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    return load_zoo(write_repository(tmp_path_factory.mktemp("zoo") / "zoo", (Spec("small"), Spec("big", 40, 10, 2.0))))


@pytest.fixture(scope="module")
def members(zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Member, ...]:
    return open_members(zoo, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`things` trains: picture 0 is there twice with two labels, picture 1 twice with one. `clothing` is reserved."""
    folder = tmp_path_factory.mktemp("data")
    train = [Item(i, label=WORDS[i % 3]) for i in range(60, 220)]
    test = [Item(i, label=WORDS[i % 3], split="test") for i in range(60)]
    same = [Item(0, label="bear", split="test"), Item(1, label=WORDS[1], split="test")]
    write_source(folder, "things", [*test, *same, *train])
    worn = [Item(1000 + i, label=WORDS[i % 2], split="test" if i % 5 == 0 else "train") for i in range(40)]
    write_source(folder, "clothing", worn)
    return folder


def silent(_: str) -> None:
    """Hears nothing."""


@pytest.fixture(scope="module")
def pools(data: Path, zoo: Zoo, members: tuple[Member, ...]) -> dict[str, TaskPools]:
    return {task.source: task for task in open_pools(data, zoo, members, silent)}


def test_logits_are_those_of_the_zoo_suite(
    pools: dict[str, TaskPools], data: Path, members: tuple[Member, ...]
) -> None:
    from training.data.sources import available_sources, read_rows

    rows = list(read_rows(data, available_sources(data)))
    for plain in labelled_tasks(rows, Split.TEST):
        task = pools[plain.source]
        logits = task_logits(members, plain)
        place = {row.digest: at for at, row in enumerate(plain.rows)}
        kept = [place[row.digest] for row in task.test.rows]
        np.testing.assert_array_equal(task.test.logits, logits[:, kept].transpose(1, 0, 2))
        assert task.novelty == plain.novelty
        assert task.classes == plain.classes


def test_embeddings_times_scales_are_logits_in_every_pool(pools: dict[str, TaskPools]) -> None:
    for task in pools.values():
        for pool in (task.fit, task.calibrate, task.test):
            for place, scale in enumerate(task.scales):
                expected = cosines(pool.embeddings[place], task.class_embeddings[place]) * np.float32(scale)
                np.testing.assert_allclose(pool.logits[:, place], expected, rtol=1e-5, atol=1e-5)


def test_no_picture_is_in_two_pools_or_twice_in_one(pools: dict[str, TaskPools]) -> None:
    for task in pools.values():
        digests = [row.digest for pool in (task.fit, task.calibrate, task.test) for row in pool.rows]
        assert len(digests) == len(set(digests))


def test_disputed_pictures_are_dropped_and_repeated_ones_count_once(pools: dict[str, TaskPools]) -> None:
    dropped = pools["things"].dropped
    assert (dropped.disputed, dropped.repeated) == (2, 1)
    assert pools["things"].test_pictures == 59


def test_truth_is_of_the_rows(pools: dict[str, TaskPools]) -> None:
    for task in pools.values():
        for pool in (task.fit, task.calibrate, task.test):
            assert [task.classes[label] for label in pool.truth] == [row.label for row in pool.rows]


def test_examples_of_a_pool_are_its_pictures(pools: dict[str, TaskPools]) -> None:
    task = pools["clothing"]
    examples = task.fit.examples(task.backbones)
    assert sorted(row.digest for row in task.fit.rows) == list(examples.digests)
    assert examples.backbones == tuple(sorted(task.backbones))


def test_a_reserved_source_has_many_to_fit_on(pools: dict[str, TaskPools]) -> None:
    assert pools["clothing"].novelty == "unseen source"
    assert len(pools["clothing"].fit) > len(pools["clothing"].calibrate)


def test_fewer_test_pictures_are_spread_over_the_classes(data: Path, zoo: Zoo, members: tuple[Member, ...]) -> None:
    (task,) = [task for task in open_pools(data, zoo, members, silent, most_test=12) if task.source == "things"]
    assert len(task.test) == 12
    assert task.test_pictures == 59
    assert np.bincount(task.test.truth).tolist() == [4, 4, 4]


def test_the_digest_is_of_what_is_measured(pools: dict[str, TaskPools], data: Path, zoo: Zoo) -> None:
    again = {task.source: task for task in open_pools(data, zoo, open_members(zoo, data / "cache"), silent)}
    assert {name: task.digest for name, task in again.items()} == {name: task.digest for name, task in pools.items()}
    fewer = open_pools(data, zoo, open_members(zoo, data / "cache"), silent, most_test=12)
    assert all(task.digest != pools[task.source].digest for task in fewer if task.source == "things")


def test_members_must_be_the_zoo(data: Path, zoo: Zoo, members: tuple[Member, ...]) -> None:
    with pytest.raises(ValueError, match="a whole zoo"):
        open_pools(data, zoo, members[:1], silent)


def test_spread_takes_all_or_evenly() -> None:
    assert spread(np.array([1, 0, 1]), 3).tolist() == [0, 1, 2]
    truth = np.repeat([0, 1], [90, 10])
    assert np.bincount(truth[spread(truth, 20)]).tolist() == [18, 2]
