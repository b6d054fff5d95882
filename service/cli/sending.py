"""Folders as one call: within the limits of the server, checked before anything is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.cli.folders import Found, Picture, read, refuse
from service.cli.following import begin
from service.cli.output import count, err, listed, note, size, warn

if TYPE_CHECKING:
    from service.api.schemas import JobOut, LabelSetOut
    from service.client import AsyncQuorumClient, Call

    MakeCall = Callable[[Sequence[bytes]], Call[JobOut]]

LIMITS: Final = ("max_job_images", "max_job_body_bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    images: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """Images with their labels (None: unlabelled), the call that takes their contents, and how to send less."""

    pictures: Sequence[tuple[Picture, str | None]]
    make_call: MakeCall
    remedy: str


async def limits_of(client: AsyncQuorumClient) -> Limits:
    """Those that the server states; one that does not is taken to have ours."""
    from service.settings import Settings

    stated, ours = (await client.info()).limits, Settings.from_environment()
    return Limits(*(stated.get(name, getattr(ours, name)) for name in LIMITS))


async def send(client: AsyncQuorumClient, parcel: Parcel, *, url: str | None) -> JobOut:
    """The job that it begins."""
    check(parcel, await limits_of(client))
    images = count(len(parcel.pictures), "image", "images")
    total = sum(picture.size_bytes for picture, _ in parcel.pictures)
    with err.status(f"Sending {images}, {size(total)} …"):
        contents = await asyncio.to_thread(read, parcel.pictures)
        job = await begin(client, parcel.make_call(contents), url=url)
    note(f"{job.id}: {images}, {size(total)}.")
    return job


def check(parcel: Parcel, limits: Limits) -> None:
    from service.client import calls

    number = len(parcel.pictures)
    if number > limits.images:
        refuse(f"{number:,} images; one job takes {limits.images:,} (QUORUM_MAX_JOB_IMAGES). {parcel.remedy}")
    empty = parcel.make_call([b""] * number)
    sizes = [picture.size_bytes for picture, _ in parcel.pictures]
    needed = calls.body_bytes(empty) + sum(sizes if empty.json is None else map(base64_size, sizes))
    if needed > limits.body_bytes:
        refuse(
            f"{number:,} images, {size(needed)} to send; one job takes {size(limits.body_bytes)} "
            f"(QUORUM_MAX_JOB_BODY_BYTES). {parcel.remedy}"
        )


def base64_size(size_bytes: int) -> int:
    return 4 * -(-size_bytes // 3)


def say_what_is_left_out(found: Found) -> None:
    """Files that are no images; and beside classes, images that belong to none."""
    if found.skipped:
        note(f"Left out, no images: {listed([str(path) for path in found.skipped])}.")
    if found.loose and found.classes:
        note(f"Left out, in no class's folder: {listed([str(picture.path) for picture in found.loose])}.")


def warn_of_classes_without_images(label_set: LabelSetOut, present: Iterable[str]) -> None:
    labels = list(label_set.labels)
    missing = sorted(set(labels) - set(present), key=labels.index)
    if missing:
        warn(f"No images of {len(missing)} of {len(labels)} classes: {listed(missing)}.")
