"""What a model repository ships for galleries: one optional safetensors file at its root.

Two controllers weigh the backbones for a query, one reads texts and one reads pictures. The cascade's prefix is a
handful of cheap backbones that search a gallery first, its thresholds say how sure they must be. The metadata name the
committee and the sources that all of it was fitted and judged with. `python -m training retrieval` writes the file, and
only where both controllers beat the mean of logits on queries that they were fitted without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from service.pipeline.controller.controller import Controller
from service.pipeline.shipped.files import Arrays, CommitteeMember, FileForm, members_change
from service.policies import QueryKind
from service.repository import Backbone

QUERY_KINDS: Final[tuple[QueryKind, ...]] = get_args(QueryKind)

FILE_NAME: Final = "retrieval_controllers.safetensors"
ARRAYS: Final = ("w1", "c1", "w2", "c2")
FORM: Final = FileForm(FILE_NAME, 1, "retrieval controllers", "python -m training retrieval")

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class RetrievalSource:
    """A source of pictures with captions, and which of its rows were used: `fit` for the controllers, `calibrate` for
    prefix and thresholds. The digests are of the pictures, `captions` are those of the `fit` rows."""

    name: str
    fit_sha256: Sha256
    fit_pictures: Count
    captions: Count
    calibrate_sha256: Sha256
    calibrate_pictures: Count


@dataclass(frozen=True, slots=True)
class JudgedController:
    """One controller: how far up the ladder its examples carried, and how it did on queries that it was fitted without.

    Accuracies are shares of 1 (the truth first among the candidates of an example), losses mean negative log
    likelihoods in nats at the best temperature, of held-out examples of the `fit` rows. `mean` is the mean of the
    backbones' logits, `best` the backbone of most accuracy. Other captions of a held-out picture may have been fitted
    on; `recall` and `mean_recall`, at 10 and each source counting the same, are of the `calibrate` rows, which are
    other pictures.
    """

    rung: Literal["static", "nlc"]
    strength: FiniteFloat
    examples: Count
    candidates: Count
    accuracy: Share
    loss: FiniteFloat
    mean_accuracy: Share
    mean_loss: FiniteFloat
    best: str
    best_accuracy: Share
    best_loss: FiniteFloat
    recall: Share
    mean_recall: Share


@dataclass(frozen=True, slots=True)
class JudgedExit:
    """One kind of query under the cascade, on the `calibrate` rows, every source counting the same.

    `lost`: recall at 10 that it lost against the whole committee, a difference of shares, with its standard error.
    `escalated`: the share of queries that all backbones answered; `gflops_share`: the mean cost of a query as a share
    of the whole committee's.
    """

    lost: FiniteFloat
    standard_error: Annotated[FiniteFloat, Field(ge=0)]
    escalated: Share
    gflops_share: Share


@dataclass(frozen=True, slots=True)
class RetrievalAbout:
    """Where the controllers come from. There is at least one member and one source."""

    seed: int
    committee: Annotated[tuple[CommitteeMember, ...], Field(min_length=1)]
    sources: Annotated[tuple[RetrievalSource, ...], Field(min_length=1)]
    controllers: Mapping[QueryKind, JudgedController]
    cascade: Mapping[QueryKind, JudgedExit]

    def change(self, backbones: Sequence[Backbone]) -> str | None:
        """How the members that it was fitted with differ now, one sentence; None where they do not.

        Further backbones are no difference: they are not weighed, and nothing that is depends on them.
        """
        names = {member.name for member in self.committee}
        return members_change(self.committee, [backbone for backbone in backbones if backbone.name in names])


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalFile:
    """By kind of query: its controller, and the confidence of the prefix from which on its answer stands.

    `prefix` are backbones in the order of the committee, some but not all. `digest` is the sha256 of the file.
    """

    controllers: Mapping[QueryKind, Controller]
    prefix: tuple[str, ...]
    thresholds: Mapping[QueryKind, float]
    about: RetrievalAbout
    digest: str

    @property
    def backbones(self) -> tuple[str, ...]:
        """Whom it weighs, in the order of the controllers."""
        return self.controllers["text"].backbones


@dataclass(frozen=True, slots=True)
class _Metadata:
    backbones: tuple[str, ...]
    widths: tuple[Count, ...]
    prefix: tuple[str, ...]
    thresholds: Mapping[QueryKind, Share]
    about: RetrievalAbout


METADATA: Final = TypeAdapter(_Metadata)


def write_retrieval(
    root: Path,
    controllers: Mapping[QueryKind, Controller],
    prefix: Sequence[str],
    thresholds: Mapping[QueryKind, float],
    about: RetrievalAbout,
) -> Path:
    """Into the repository at `root`, in one step; the same content gives the same bytes.

    Raises `ValueError` for what `read_retrieval` would refuse.
    """
    first = controllers[QUERY_KINDS[0]]
    if any((each.backbones, each.widths) != (first.backbones, first.widths) for each in controllers.values()):
        raise ValueError("both controllers weigh the same backbones")
    if any(each.generic is not None or not each.any_subset for each in controllers.values()):
        raise ValueError("a retrieval controller weighs any subset and has no generic part")
    arrays = {f"{kind}.{name}": getattr(controllers[kind], name) for kind in QUERY_KINDS for name in ARRAYS}
    metadata = _Metadata(first.backbones, first.widths, tuple(prefix), dict(thresholds), about)
    try:
        METADATA.validate_json(METADATA.dump_json(metadata), strict=True)
    except ValidationError as error:
        raise ValueError(f"wrong metadata: {error}") from error
    if problem := _contradiction(metadata):
        raise ValueError(problem)
    return FORM.write(root, arrays, asdict(metadata))


def read_retrieval(root: Path) -> RetrievalFile | None:
    """None where the repository at `root` ships none. Raises `RepositoryError` for a file that cannot be used."""
    found = FORM.read(root, METADATA)
    if found is None:
        return None
    if problem := _contradiction(found.about):
        raise FORM.broken(found.path, problem)
    try:
        controllers = _controllers(found.arrays, found.about)
    except (KeyError, TypeError, ValueError) as error:
        raise FORM.broken(found.path, "its arrays are not those of retrieval controllers") from error
    metadata = found.about
    return RetrievalFile(controllers, metadata.prefix, metadata.thresholds, metadata.about, found.digest)


def _contradiction(metadata: _Metadata) -> str | None:
    """What fields that are right by themselves cannot say together."""
    members = [member.name for member in metadata.about.committee]
    if len(set(members)) != len(members) or sorted(members) != sorted(metadata.backbones):
        return "its metadata name other backbones than its committee"
    prefix = [name for name in members if name in metadata.prefix]
    if tuple(prefix) != metadata.prefix or not 0 < len(prefix) < len(members):
        return "its prefix is not some of its committee, in order"
    tables = (metadata.thresholds, metadata.about.controllers, metadata.about.cascade)
    if any(set(table) != set(QUERY_KINDS) for table in tables):
        return f"its metadata do not speak of {' and '.join(QUERY_KINDS)} queries"
    return None


def _controllers(arrays: Arrays, metadata: _Metadata) -> dict[QueryKind, Controller]:
    """Raises `KeyError` and `ValueError`."""
    if set(arrays) != {f"{kind}.{name}" for kind in QUERY_KINDS for name in ARRAYS}:
        raise KeyError("other arrays")
    return {kind: _controller(kind, arrays, metadata) for kind in QUERY_KINDS}


def _controller(kind: QueryKind, arrays: Arrays, metadata: _Metadata) -> Controller:
    w1, c1, w2, c2 = (arrays[f"{kind}.{name}"] for name in ARRAYS)
    return Controller(metadata.backbones, metadata.widths, w1, c1, w2, c2)
