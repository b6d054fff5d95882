"""Texts without pictures: what a text tower can learn about words that no caption holds."""

from collections.abc import Iterator
from pathlib import Path

from training.data.builders.packages import Package
from training.data.captions import LABEL_TEMPLATES
from training.data.rows import DataError

WORDNET = Package("apt", "wordnet-base", "1:3.0-37", "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752")

# WordNet's lexicographer files of things that can be seen: animals, artefacts, bodies, food, objects, people, plants.
VISIBLE = frozenset({"05", "06", "08", "13", "17", "18", "20", "27"})


def wordnet_texts(folder: Path) -> Iterator[str]:
    """Names and glosses of every noun in the unpacked `WORDNET` (format: wndb(5WN)); names of what can be seen come in
    one of the templates around labels besides.

    Raises `DataError` if there are none in `folder`.
    """
    path = folder / "usr/share/wordnet/data.noun"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("  "):  # the licence at the top
            continue
        record, _, gloss = line.partition(" | ")
        fields = record.split(" ")
        names = [fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16))]
        yield from names
        yield gloss.split(";")[0].strip()
        if fields[1] in VISIBLE:
            yield from (LABEL_TEMPLATES[1 + (int(fields[0]) + i) % 9].format(name) for i, name in enumerate(names))
