"""Making the pack of the adapter experiments out of data and a training run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from training.adapters.pack import Pack, PackedRow, encode_picture
from training.adapters.settings import MOST_ROWS, PRETRAINING, RESERVED
from training.checkpoint import CheckpointError, load_average
from training.config import parse_config
from training.data.rows import DataError, Row
from training.data.samples import decode_rows
from training.data.sources import DataDirs, available_sources, read_rows
from training.data.splits import Split, assign_splits
from training.journal import FINAL
from training.models.text import TOKENIZER
from training.models.towers import zoo_preprocessing

SPLITS = (Split.FIT, Split.CALIBRATE, Split.TEST)
Assigned = Sequence[tuple[Row, Split]]


def make_pack(
    data: DataDirs,
    run_dir: Path,
    *,
    sources: Iterable[str] = (*PRETRAINING, *RESERVED),
    progress: Callable[[str], None],
) -> Pack:
    """The rows of `sources` that the experiments look at, and the weight average of the finished run in `run_dir`.

    Raises `DataError` for a source that is missing or was trained on though it is reserved, and for pictures that
    cannot be decoded; `CheckpointError` for a folder without a finished run.
    """
    if not (run_dir / FINAL).is_file() or not (run_dir / TOKENIZER).is_file():
        raise CheckpointError(f"{run_dir}: no {FINAL} with its {TOKENIZER} here; train or restore it first")
    weights, metadata = load_average(run_dir / FINAL)
    config = parse_config(metadata["config"], str(run_dir))
    progress("reading every source, for pictures that two of them share")
    assigned = assign_splits(read_rows(data, available_sources(data)))
    chosen = [pair for source in sources for pair in _of_source(assigned, source)]
    progress(f"{len(chosen)} pictures")
    images = decode_rows([row for row, _ in chosen], zoo_preprocessing(config.model)).images
    return Pack(
        backbone=config.name,
        model=config.model,
        weights=weights,
        tokenizer=Tokenizer.from_file(str(run_dir / TOKENIZER)),
        rows=tuple(_packed(row, split) for row, split in chosen),
        pictures=tuple(encode_picture(pixels) for pixels in images),
        classes=_classes(assigned, sources),
    )


def _of_source(assigned: Assigned, source: str, most: Mapping[str, Mapping[str, int]] = MOST_ROWS) -> Assigned:
    """The rows of one source by split, as many as `most` allows, in order of their digests."""
    kept: list[tuple[Row, Split]] = []
    for split in SPLITS:
        rows = [pair for pair in assigned if pair[0].source == source and pair[1] is split]
        rows.sort(key=lambda pair: pair[0].digest)
        kept += rows[: most[split].get(source, len(rows))]
    if not kept:
        raise DataError(f"{source}: no row that trains no tower")
    return kept


def _packed(row: Row, split: Split) -> PackedRow:
    return PackedRow(row.source, str(split), row.captions, None if row.broad else row.label, row.digest)


def _classes(assigned: Assigned, sources: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """All names that a source's labelled rows have in any split."""
    found = {
        source: sorted({row.label for row, _ in assigned if row.source == source and row.label and not row.broad})
        for source in sources
    }
    return {source: tuple(names) for source, names in found.items() if names}
