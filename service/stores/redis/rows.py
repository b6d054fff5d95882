"""What scripts give, read into the types of the stores. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.errors import QuorumError
from service.pipeline.labels import LabelSet
from service.policies import ArtefactKind
from service.stores.base import ArtefactVersion, Job, JobError, StoredLabelSet

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def dump_label_set(label_set: LabelSet) -> str:
    content = {"labels": label_set.labels, "phrasings": label_set.phrasings, "templates": label_set.templates}
    return json.dumps(content, ensure_ascii=False)


def read_label_set(name: str, row: Sequence[bytes | None]) -> StoredLabelSet | None:
    """`row`: content and two times; None of what is not there."""
    content, created_at, updated_at = row
    if content is None or created_at is None or updated_at is None:
        return None
    fields = json.loads(content)
    label_set = LabelSet(
        labels=tuple(fields["labels"]),
        phrasings=tuple(tuple(phrasings) for phrasings in fields["phrasings"]),
        templates=tuple(fields["templates"]),
    )
    return StoredLabelSet(name, label_set, read_time(created_at), read_time(updated_at))


def read_version(label_set: str, kind: ArtefactKind, row: Sequence[bytes]) -> ArtefactVersion:
    version, digest, metadata, created_at, active = row
    return ArtefactVersion(
        label_set=label_set,
        kind=kind,
        version=int(version),
        digest=digest.decode(),
        metadata=json.loads(metadata),
        created_at=read_time(created_at),
        active=active == b"1",
    )


def dump_json(values: Mapping[str, Any]) -> str:
    """Raises `TypeError` or `ValueError` for what is no JSON."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def dump_error(error: QuorumError) -> str:
    return json.dumps(asdict(JobError.of(error)), ensure_ascii=False)


def read_job(row: Sequence[bytes]) -> Job | None:
    """`row`: names and values in turn; empty for a job that is not there."""
    values = {name.decode(): value for name, value in zip(row[::2], row[1::2], strict=True)}
    if not values:
        return None
    text = {name: value.decode() for name, value in values.items()}
    return Job(
        id=text["id"],
        kind=_kind(text["kind"]),
        label_set=text["label_set"],
        digest=text["digest"],
        request_id=text["request_id"],
        state=text["state"],  # type: ignore[arg-type]  # written by the scripts alone
        progress=float(text["progress"]),
        result=_result(text),
        error=JobError(**json.loads(text["error"])) if "error" in text else None,
        created_at=read_time(values["created_at"]),
        started_at=_time(values.get("started_at")),
        finished_at=_time(values.get("finished_at")),
    )


def read_time(microseconds: bytes) -> datetime:
    return EPOCH + timedelta(microseconds=int(microseconds))


def _time(microseconds: bytes | None) -> datetime | None:
    return read_time(microseconds) if microseconds is not None else None


def _result(text: Mapping[str, str]) -> Mapping[str, Any] | None:
    """With the artefact's version, which only the script knew; Lua would not give the JSON back as it was."""
    if "result" not in text:
        return None
    result: dict[str, Any] = json.loads(text["result"])
    return result | {"version": int(text["version"])} if text["version"] else result


def _kind(text: str) -> ArtefactKind:
    return "controller" if text == "controller" else "cascade"
