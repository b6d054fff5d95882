"""The bundled example: a few small pictures of clothes that a committee can be taught with, as files.

They are rows of Fashion-MNIST that train no tower: examples from the `fit` split, everything else from `calibrate`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from training.data.builders.fashion import CLASSES, SOURCE
from training.data.rows import DataError, Row
from training.data.sources import DataDirs, read_rows
from training.data.splits import Split, assign_splits

EXAMPLES_PER_CLASS: Final = 16
CALIBRATION_IMAGES: Final = 400
"""Half of them test: 200, of which 5 may be answered otherwise at epsilon 0.05 and delta 0.1; 90 would allow none."""
ASKED_ABOUT: Final = ("bag", "coat", "sneaker", "trouser")

README: Final = """\
# Clothes to teach a committee with

{fit} labelled pictures ({per_class} of each of {classes} classes) in `fit/`, {calibrate} without labels in
`calibrate/`, and {asked} to ask about in `classify/`, named after what they show. All are 28 pixels wide. No tower
was trained on any of them: examples are of the split `fit`, the rest of `calibrate` ([what splits
are](../../../training/data/splits.py)).

Written by `python -m training example --data FOLDER`, where FOLDER holds `{source}.parquet` as `python -m training
build-data` makes it. Files carry the start of their sha256 as a name.

## Source and licence

{attribution}. Licence: {licence}.

> The MIT License (MIT)
>
> Copyright © 2017 Zalando SE, https://tech.zalando.com
>
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
> documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
> rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
> permit persons to whom the Software is furnished to do so, subject to the following conditions:
>
> The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
> Software.
>
> THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
> WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
> OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
> OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def write_example(data: DataDirs, out: Path) -> int:
    """Write the folder `out`, which must be new or empty; the bytes of its pictures.

    Raises `DataError` for a folder with something in it, and for data that lack the source or enough of its rows.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out}: there is something already; remove it or choose another folder")
    files = choose(assign_splits(read_rows(data, [SOURCE.name])))
    for path, image in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(image)
    (out / "README.md").write_text(_readme(), encoding="utf-8")
    return sum(map(len, files.values()))


def choose(rows: Iterable[tuple[Row, Split]]) -> dict[Path, bytes]:
    """Contents by relative path: the first of each class, and of all, in order of their digests.

    Raises `DataError` where there are too few.
    """
    by_split: dict[Split, dict[str, Row]] = {Split.FIT: {}, Split.CALIBRATE: {}}
    for row, split in rows:
        if split in by_split:
            by_split[split][row.digest] = row
    ordered = {split: [found[digest] for digest in sorted(found)] for split, found in by_split.items()}
    classes = sorted(name for name, _ in CLASSES)
    files = {
        Path("fit", name, _file(row)): row.image
        for name in classes
        for row in _first(ordered[Split.FIT], name, EXAMPLES_PER_CLASS)
    }
    asked = {name: _first(ordered[Split.CALIBRATE], name, 1)[0] for name in ASKED_ABOUT}
    files |= {Path("classify", f"{name}.png"): row.image for name, row in asked.items()}
    return files | _calibration(ordered[Split.CALIBRATE], asked)


def _calibration(rows: Sequence[Row], asked: Mapping[str, Row]) -> dict[Path, bytes]:
    taken = {row.digest for row in asked.values()}
    free = [row for row in rows if row.digest not in taken][:CALIBRATION_IMAGES]
    if len(free) < CALIBRATION_IMAGES:
        raise DataError(f"{SOURCE.name}: {len(free)} pictures to calibrate on, {CALIBRATION_IMAGES} are needed")
    return {Path("calibrate", _file(row)): row.image for row in free}


def _first(rows: Sequence[Row], label: str, count: int) -> list[Row]:
    found = [row for row in rows if row.label == label][:count]
    if len(found) < count:
        raise DataError(f'{SOURCE.name}: {len(found)} pictures of "{label}", {count} are needed')
    return found


def _file(row: Row) -> str:
    return f"{row.digest[:12]}.png"


def _readme() -> str:
    return README.format(
        fit=EXAMPLES_PER_CLASS * len(CLASSES),
        per_class=EXAMPLES_PER_CLASS,
        classes=len(CLASSES),
        calibrate=CALIBRATION_IMAGES,
        asked=len(ASKED_ABOUT),
        source=SOURCE.name,
        attribution=SOURCE.attribution,
        licence=SOURCE.licence,
    )
