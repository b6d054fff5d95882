"""Suites of the evaluation: each measures one thing and writes its tables, its JSON and its plots."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class SuiteName(StrEnum):
    """What `python -m training evaluate --suite` can measure."""

    ZOO = "zoo"
    COMMITTEE = "committee"
    RETRIEVAL = "retrieval"
    ADAPTERS = "adapters"
    VARIANTS = "variants"
    EXPERTS = "experts"


@dataclass(frozen=True)
class SuiteOptions:
    """What every suite is given.

    `data`: folders of Parquet files; `repository`: the model repository; `out`: the folder for results; `cache`: the
    folder for embeddings; `card`: the model card that the zoo suite brings up to date, null for none; `progress` hears
    what is at work. `units`: the folder of the fits of the suites adapters and experts; `fit`: whether they compute
    what is missing there.
    """

    data: tuple[Path, ...]
    repository: Path
    out: Path
    cache: Path
    card: Path | None
    progress: Callable[[str], None]
    units: Path
    fit: bool


def run_suite(name: SuiteName, options: SuiteOptions) -> str:
    """Measure one suite, write its results, and return its tables.

    Raises `DataError`, `RepositoryError`, `CheckpointError` and `CardError`.
    """
    # Imported here: a command's list of suites should not wait for what one of them needs.
    match name:
        case SuiteName.ZOO:
            from training.evaluate.suites.zoo import run

            return run(options)
        case SuiteName.COMMITTEE:
            from training.evaluate.suites.committee import run as run_committee

            return run_committee(options)
        case SuiteName.RETRIEVAL:
            from training.evaluate.suites.retrieval import run as run_retrieval

            return run_retrieval(options)
        case SuiteName.ADAPTERS:
            from training.evaluate.suites.adapters import run as run_adapters

            return run_adapters(options)
        case SuiteName.VARIANTS:
            from training.evaluate.suites.variants import run as run_variants

            return run_variants(options)
        case SuiteName.EXPERTS:
            from training.evaluate.suites.experts import run as run_experts

            return run_experts(options)
