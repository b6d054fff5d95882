"""Why jobs end early and artefacts are refused: the same words from every store."""

from __future__ import annotations

from service.errors import (
    JobCancelledError,
    JobInterruptedError,
    JobSupersededError,
    LabelSetChangedError,
    NotFoundError,
)
from service.policies import ArtefactKind
from service.stores.base import ArtefactVersion


def label_set_missing(name: str) -> NotFoundError:
    return NotFoundError(f'There is no label set "{name}". Create it with PUT /v1/label-sets/{name}.', param="name")


def label_set_replaced(name: str) -> LabelSetChangedError:
    return LabelSetChangedError(
        f'The label set "{name}" was replaced by other contents meanwhile. Nothing was activated; start the job again '
        "with images for the new labels."
    )


def label_set_deleted(name: str) -> LabelSetChangedError:
    return LabelSetChangedError(f'The label set "{name}" was deleted meanwhile. Nothing was activated.')


def artefact_does_not_fit(artefact: ArtefactVersion) -> LabelSetChangedError:
    """For whoever wants to apply or activate what was made for other contents."""
    kind, name = artefact.kind, artefact.label_set
    return LabelSetChangedError(
        f'Version {artefact.version} of the {kind} of "{name}" was made for other labels or templates than it has '
        f"now, so it is not applied. Make a new one with POST /v1/label-sets/{name}/{kind}."
    )


def superseded(by_job_id: str, kind: ArtefactKind) -> JobSupersededError:
    return JobSupersededError(
        f"This job was superseded by {by_job_id}, a newer one for the same {kind}. Nothing was activated."
    )


def cancelled(job_id: str) -> JobCancelledError:
    return JobCancelledError(f"Cancelled by DELETE /v1/jobs/{job_id}. Nothing was activated.")


def interrupted() -> JobInterruptedError:
    return JobInterruptedError(
        "The server stopped before the job was done. Images are never stored, so it cannot be resumed: send the call "
        "that started it again."
    )
