"""The seams to what outlives a request: state, and a cache whose loss is slow, never wrong.

State is label sets, artefacts and jobs. Every call on it answers within a bounded time or raises `UnavailableError`,
and then nothing was written; only after `OutcomeUnknownError`, which a store elsewhere on a network may raise, the
write may have been done. Each write is one transaction, whether its caller waits for it or has left, and what it
returned from is there after `kill -9`. Reading one label set, or which versions are active, may give what was known
last while the store is away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.errors import QuorumError
from service.pipeline.labels import LabelSet
from service.policies import ArtefactKind, JobState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of what is over is kept: versions of an artefact beside the newest, and finished jobs."""

    earlier_versions: int
    job_ttl_s: float
    finished_jobs: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a listing."""

    items: tuple[T, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class StoredLabelSet:
    name: str
    label_set: LabelSet
    created_at: datetime
    updated_at: datetime


class LabelSetStore(Protocol):
    async def put(self, name: str, label_set: LabelSet) -> StoredLabelSet:
        """Create or replace; `created_at` stays when replacing.

        Other contents cancel the label set's unfinished jobs in the same transaction. Its artefacts stay: they belong
        to the contents that they were made for, and apply again when those come back.
        """

    async def get(self, name: str) -> StoredLabelSet | None: ...

    async def delete(self, name: str) -> bool:
        """False when there was none. Its artefacts go with it, and its unfinished jobs are cancelled, all at once."""

    async def list(self, *, after: str | None, limit: int) -> Page[StoredLabelSet]:
        """Names strictly after `after`, ascending."""


@dataclass(frozen=True, slots=True)
class ArtefactContent:
    """`tensors` is a safetensors file; `metadata` fits into JSON."""

    tensors: bytes
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArtefactVersion:
    """All of a stored artefact but its tensors. `digest` is the label set's that it was made for."""

    label_set: str
    kind: ArtefactKind
    version: int
    digest: str
    metadata: Mapping[str, Any]
    created_at: datetime
    active: bool

    def fits(self, label_set: LabelSet) -> bool:
        """Whether it may be applied to `label_set`. An artefact of other contents never is, active or not."""
        return self.digest == label_set.digest


@dataclass(frozen=True, slots=True)
class Artefact:
    about: ArtefactVersion
    tensors: bytes


class ArtefactStore(Protocol):
    """Versions of controllers and cascades, per label set and kind; one of them is active.

    A version number is never given twice while its label set exists, `delete` included.
    """

    async def put(self, label_set: str, kind: ArtefactKind, digest: str, content: ArtefactContent) -> ArtefactVersion:
        """Store the next version and make it active; of the others those that were active last are kept.

        Raises `NotFoundError` without the label set, `LabelSetChangedError` when its digest is not `digest`.
        """

    async def active(self, label_set: str) -> Mapping[ArtefactKind, ArtefactVersion]:
        """The active version of each kind that has one: asked by every request that names a label set."""

    async def get(self, label_set: str, kind: ArtefactKind, version: int | None = None) -> Artefact | None:
        """The active one, or `version`."""

    async def list(self, label_set: str, kind: ArtefactKind) -> Sequence[ArtefactVersion]:
        """Every version that is kept, newest first."""

    async def activate(self, label_set: str, kind: ArtefactKind, version: int) -> ArtefactVersion | None:
        """Make a kept version the active one; None when it is not there.

        Raises `LabelSetChangedError` when it was made for other contents than the label set has now.
        """

    async def delete(self, label_set: str, kind: ArtefactKind) -> bool:
        """Every version. False when there was none."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """`id` sorts by time of creation. `digest` is the label set's that the job works for."""

    id: str
    kind: ArtefactKind
    label_set: str
    digest: str
    request_id: str


@dataclass(frozen=True, slots=True)
class JobError:
    """A `QuorumError` that outlives its process."""

    message: str
    type: str
    param: str | None
    code: str

    @classmethod
    def of(cls, error: QuorumError) -> JobError:
        return cls(error.message, error.type, error.param, error.code)


@dataclass(frozen=True, slots=True)
class Job:
    """`progress` is 0 to 1; `request_id` is of the call that asked for it. A finished job never changes again."""

    id: str
    kind: ArtefactKind
    label_set: str
    digest: str
    request_id: str
    state: JobState
    progress: float
    result: Mapping[str, Any] | None
    error: JobError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobStore(Protocol):
    """Jobs and their states: `queued`, `running`, then one of the three final ones.

    A job belongs to the process that created it: its work is in that process' memory alone and ends with it.
    """

    async def create(self, new: NewJob) -> Job:
        """Store it as queued, and cancel what is unfinished of the same label set and kind as superseded, at once.

        Raises `NotFoundError` without the label set, `LabelSetChangedError` when its digest is not the job's.
        """

    async def start(self, job_id: str) -> Job | None:
        """From queued to running; None when it is not queued (any more)."""

    async def progress(self, job_id: str, fraction: float) -> bool:
        """False when it is not running (any more): its work should stop."""

    async def finish(self, job_id: str, result: Mapping[str, Any], artefact: ArtefactContent | None) -> Job | None:
        """Succeeded, and its artefact stored and active: both or neither. `result` gains the artefact's `version`.

        None, and nothing is stored, when the job is not running (any more). Raises what `ArtefactStore.put` raises.
        """

    async def fail(self, job_id: str, error: QuorumError) -> Job | None:
        """None when it had finished before."""

    async def cancel(self, job_id: str, error: QuorumError) -> Job | None:
        """The job as it is afterwards: unchanged when it had finished before, None when there is none."""

    async def get(self, job_id: str) -> Job | None: ...

    async def list(self, *, label_set: str | None, after: str | None, limit: int) -> Page[Job]:
        """Newest first, ids strictly before `after`; of one label set or of all."""

    async def sweep(self) -> Sequence[Job]:
        """Fail the unfinished jobs of processes that are gone, and forget finished ones beyond what is kept.

        Called at start and from time to time. Gives the jobs that it failed.
        """


class State(Protocol):
    """The three stores of one place, which change together."""

    @property
    def label_sets(self) -> LabelSetStore: ...

    @property
    def artefacts(self) -> ArtefactStore: ...

    @property
    def jobs(self) -> JobStore: ...

    async def start(self) -> None:
        """Raises `ConfigurationError` when the place cannot be used."""

    def problems(self) -> list[str]:
        """What is broken for good in this process, not in the place. Empty means healthy."""

    async def close(self) -> None: ...


class EmbeddingCache(Protocol):
    async def start(self) -> None:
        """Neither waits nor fails."""

    def problems(self) -> list[str]:
        """What is broken for good in this process, not in a server. Empty means healthy."""

    async def close(self) -> None: ...

    async def get_many(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """What is known of `keys`; missing ones are left out."""

    async def put_many(self, embeddings: Mapping[str, NDArray[np.float32]]) -> None:
        """Nobody waits for anything but memory. An entry may be dropped, and it may be there a little later."""


class RateLimits(Protocol):
    """Buckets that fill up evenly, to a minute's worth at most, and are emptied by what is taken.

    Whoever finds anything in the bucket may take all that it needs, and leaves a debt where that is more: what takes
    much at once (a fit on a thousand images) is let in as well, and waited for afterwards.
    """

    async def take(self, bucket: str, amount: int, per_minute: int) -> float:
        """0 when it was taken; else the seconds until the bucket holds something again, and nothing was taken."""

    async def close(self) -> None: ...
