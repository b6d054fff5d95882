"""Building sources: packages in, Parquet files and a manifest out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from training.data.builders.catalogue import SOURCES, choose
from training.data.builders.manifest import entry, write_entry
from training.data.builders.packages import unpack
from training.data.builders.pictures import Dropped, Picture, Source
from training.data.builders.separate import separate, without_repeats
from training.data.builders.write import write_source


def build(
    out: Path, names: Sequence[str] = (), packages: Path | None = None, *, progress: bool = False
) -> dict[str, tuple[int, int]]:
    """Build the named sources (all for none) into `out`: train and test rows by source.

    Packages are looked for in `packages` (default: `out`/packages), and downloaded into it where they are missing. What
    is left out of a source depends on the other sources of its pool, so these are read as well, though only the named
    ones are written. Raises `DataError`.
    """
    chosen = choose(names)
    pools = {source.pool for source in chosen} - {None}
    needed = [source for source in SOURCES.values() if source in chosen or source.pool in pools]
    folders = _folders(needed, packages or out / "packages", progress=progress)
    rows: dict[str, tuple[int, int]] = {}
    for group in _groups(needed):
        dropped = {source.name: Dropped() for source in group}
        pictures = {source.name: _read(source, folders, dropped[source.name], progress=progress) for source in group}
        if group[0].pool is not None:
            pictures = separate({source.name: (source, pictures[source.name]) for source in group}, dropped)
        for source in group:
            if source in chosen:
                rows[source.name] = _write(out, source, pictures[source.name], dropped[source.name])
    return rows


def _folders(sources: Sequence[Source], cache: Path, *, progress: bool) -> dict[str, Path]:
    """Every package that `sources` need, fetched and unpacked before the first picture is drawn."""
    wanted = {package.name: package for source in sources for package in source.packages}
    bar = tqdm(wanted.values(), desc="packages", unit="package", disable=not progress)
    return {package.name: unpack(package, cache) for package in bar}


def _groups(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Sources that must be read together: whole pools, and every other source alone."""
    for pool in {source.pool: None for source in sources if source.pool is not None}:
        yield [source for source in sources if source.pool == pool]
    yield from ([source] for source in sources if source.pool is None)


def _read(source: Source, folders: Mapping[str, Path], dropped: Dropped, *, progress: bool) -> list[Picture]:
    bar = tqdm(source.read(folders, dropped), desc=source.name, unit="img", disable=not progress)
    return without_repeats(list(bar), dropped)


def _write(out: Path, source: Source, pictures: Sequence[Picture], dropped: Dropped) -> tuple[int, int]:
    path = out / f"{source.name}.parquet"
    write_source(path, source, pictures)
    new = entry(source, path, pictures, dropped)
    write_entry(out, source.name, new)
    return new["rows"]["train"], new["rows"]["test"]
