"""Which sources a backbone was trained on, as its `config.pbtxt` says."""

import re

FITTED = re.compile(r"(?:adapter [^;]+ fitted to|fine-tuned [^;]+ on) \d+ images of ([^;]+);")
TRAINED = re.compile(r"trained from scratch on \d+ images of ([^;]+);")


def trained_sources(provenance: str) -> frozenset[str] | None:
    """The sources named in the provenance of a backbone that was trained here; null for a backbone from elsewhere.

    Reads what `training.export.run.provenance` writes.
    """
    found = TRAINED.match(provenance)
    return None if found is None else frozenset(found[1].split(", "))


def fitted_sources(provenance: str) -> frozenset[str]:
    """The sources that the adapter of a variant, or the variant itself, was fitted on; none for other backbones.

    Reads what `training.export.adapted.fit_provenance` and `training.experts.fitting.served.fit_provenance` write.
    """
    found = FITTED.search(provenance)
    return frozenset() if found is None else frozenset(found[1].split(", "))
