"""Which sources a backbone was trained on, as its `config.pbtxt` says."""

import re

TRAINED = re.compile(r"trained from scratch on \d+ images of ([^;]+);")


def trained_sources(provenance: str) -> frozenset[str] | None:
    """The sources named in the provenance of a backbone that was trained here; null for a backbone from elsewhere.

    Reads what `training.export.run.provenance` writes.
    """
    found = TRAINED.match(provenance)
    return None if found is None else frozenset(found[1].split(", "))
