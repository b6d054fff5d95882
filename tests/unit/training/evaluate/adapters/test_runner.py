"""Computing units, in one process and in several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.adapters import design
from training.adapters.adapt_config import AdaptConfig, AdaptSchedule
from training.adapters.pack import load_pack
from training.checkpoint import load_tensors
from training.data.rows import DataError
from training.evaluate.adapters.bench import LOST, Bench, open_bench, pack_digest
from training.evaluate.adapters.grid import Grid
from training.evaluate.adapters.runner import STATES, UNITS, Record, RunOptions, run_grid
from training.evaluate.adapters.units import Result, Unit, append_result, read_results

pytestmark = pytest.mark.torch


def _unit(rate: float = 1e-2, label: str = "msa-lo") -> Unit:
    schedule = AdaptSchedule(epochs=1, batch_size=8, peak_lr=rate)
    config = AdaptConfig(backbone="small", design=design(label), sources=("clothing",), schedule=schedule)
    return Unit("test", label, "clothing", config, ("clothing",))


class SmallGrid(Grid):
    """Three fits on the one reserved source that the small data have."""

    def units(self, part: str, results: object) -> list[Unit]:  # noqa: ARG002 - the grid's signature
        return [_unit(), _unit(label="clip-adapter"), _unit(label="zero-shot")]


@pytest.fixture(scope="module")
def bench(packed: Path) -> Bench:
    pack = load_pack(packed)
    return open_bench(pack, pack.decoded(), pack_digest(packed), "cpu")


def _options(packed: Path, out: Path, *, workers: int = 1, minutes: float = 0) -> RunOptions:
    return RunOptions(packed, out, "cpu", workers, minutes, lambda _: None)


def _found(results: dict[str, Result]) -> dict[str, tuple[object, ...]]:
    return {key: (each.label, each.loss, each.calibrate, each.scores) for key, each in results.items()}


def test_a_unit_gives_what_was_found_and_the_adapter(bench: Bench) -> None:
    result, state = bench.compute(_unit())
    assert result.steps == 2
    assert result.loss[0] > 0
    assert set(result.scores) == {"clothing"}
    assert sum(value.numel() for value in state.values()) == sum(result.added.values())
    assert result.machine.startswith("x86_64 CPU") or "CPU" in result.machine


def test_a_unit_is_the_same_whenever_it_is_computed(bench: Bench) -> None:
    one, _ = bench.compute(_unit())
    bench.compute(_unit(label="clip-adapter"))
    other, _ = bench.compute(_unit())
    assert replace(one, seconds=0.0) == replace(other, seconds=0.0)


def test_nothing_added_is_nothing_fitted(bench: Bench) -> None:
    result, state = bench.compute(_unit(label="zero-shot"))
    assert (result.steps, result.share, state) == (0, 0.0, {})
    assert result.calibrate > 0


def test_a_lost_loss_is_a_result_that_no_rate_is_chosen_by(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> None:
        raise FloatingPointError("gone")

    monkeypatch.setattr("training.evaluate.adapters.bench.fit", lose)
    result, _ = bench.compute(_unit())
    assert (result.calibrate, result.scores) == (LOST, {})


def test_several_processes_find_what_one_does_and_a_second_run_finds_it_done(packed: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    first = run_grid(SmallGrid(), ["any"], _options(packed, alone)).results
    threads = torch.get_num_threads()
    second = run_grid(SmallGrid(), ["any"], _options(packed, together, workers=2)).results
    assert torch.get_num_threads() == threads
    assert [each.label for each in first.values()] == ["msa-lo", "clip-adapter", "zero-shot"]
    assert set(second) == set(first)
    assert {each.label: each.added for each in second.values()} == {each.label: each.added for each in first.values()}
    before = (alone / UNITS).read_text()
    again = run_grid(SmallGrid(), ["any"], _options(packed, alone))
    assert (alone / UNITS).read_text() == before
    assert _found(again.results) == _found(first)


def test_a_missing_pack_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="adapter-pack"):
        run_grid(SmallGrid(), ["any"], _options(tmp_path / "none", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_looking_at_a_folder_leaves_a_run_at_work_alone(bench: Bench, tmp_path: Path) -> None:
    result, _ = bench.compute(_unit())
    append_result(tmp_path / UNITS, result)
    with (tmp_path / UNITS).open("a") as file:
        file.write(result.line()[:40])
    before = (tmp_path / UNITS).read_bytes()
    assert Record.open(tmp_path).results == {result.key: result}
    assert (tmp_path / UNITS).read_bytes() == before


def test_no_unit_is_begun_after_the_time(packed: Path, tmp_path: Path) -> None:
    assert run_grid(SmallGrid(), ["any"], _options(packed, tmp_path, minutes=1e-6)).results == {}


def test_a_unit_that_fails_does_not_end_the_others(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Bench.compute
    lines: list[str] = []

    def fail(bench: Bench, unit: Unit) -> tuple[Result, dict[str, torch.Tensor]]:
        if unit.label == "clip-adapter":
            raise RuntimeError("out of memory")
        return compute(bench, unit)

    monkeypatch.setattr(Bench, "compute", fail)
    options = replace(_options(packed, tmp_path), progress=lines.append)
    assert len(run_grid(SmallGrid(), ["any"], options).results) == 2
    assert any(line.startswith("failed: clip-adapter on clothing, seed 0: out of memory") for line in lines)


def test_a_line_that_was_cut_off_is_computed_again(bench: Bench, tmp_path: Path) -> None:
    result, _ = bench.compute(_unit())
    append_result(tmp_path / UNITS, result)
    with (tmp_path / UNITS).open("a") as file:
        file.write(result.line()[:40])
    assert Record.read(tmp_path).results == {result.key: result}
    assert read_results(tmp_path / UNITS) == {result.key: result}
    append_result(tmp_path / UNITS, result)
    assert len((tmp_path / UNITS).read_text().splitlines()) == 2


def test_a_broken_line_within_is_an_error(tmp_path: Path) -> None:
    (tmp_path / UNITS).write_text("{}\n")
    with pytest.raises(DataError, match="no result"):
        read_results(tmp_path / UNITS)


def test_adapters_are_kept_by_label(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.keep("msa", {"a": torch.ones(2)})
    record.keep("msa-lo", {"a": torch.zeros(3)})
    assert load_tensors(tmp_path / STATES)[0].keys() == {"msa/a", "msa-lo/a"}
    assert torch.equal(Record.read(tmp_path).states["msa-lo"]["a"], torch.zeros(3))


def test_a_key_depends_on_all_that_decides_the_result() -> None:
    keys = {
        _unit().key("pack"),
        _unit().key("other"),
        _unit(rate=2e-2).key("pack"),
        replace(_unit(), tests=()).key("pack"),
        _unit(label="msa").key("pack"),
    }
    assert len(keys) == 5
    assert replace(_unit(), part="elsewhere").key("pack") == _unit().key("pack")
