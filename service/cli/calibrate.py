"""`quorum calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import options
from service.cli.connection import Target, in_sentences, talk
from service.cli.folders import Found, Picture, check_not_empty, look, match, refuse, sample
from service.cli.output import count, err, listed, note, printable

if TYPE_CHECKING:
    from service.api.schemas import JobOut, LabelSetOut
    from service.cli.sending import Parcel
    from service.client import AsyncQuorumClient, Call

REMEDY = "Take fewer with --sample N."
Levels = tuple[float, float]


def calibrate(
    label_set: options.LabelSet,
    folder: options.Folder,
    epsilon: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="The largest share of images that may be answered otherwise than by the full committee.",
        ),
    ] = 0.02,
    delta: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="With this probability the promise may fail.")
    ] = 0.1,
    sample_size: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            metavar="N",
            help="Take N different images, chosen by their contents: the same ones every time.",
            show_default="all",
        ),
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Calibrate when the cheap backbones' answer is enough, on images like those to come.

    FOLDER has the images themselves, unlabelled; or one sub-folder per class, named exactly like the label, and then
    the loss of accuracy is bounded as well. Images that the controller was fitted on are left aside. One job takes
    20,000 images and 256 MiB, unless the server is set otherwise; a larger folder is refused before it is read, and
    --sample takes part of it.

    The result is a promise: with probability 1 - delta, the cascade's top label is another than the full committee's
    on at most a share epsilon of images. With too few images nobody leaves early, and it says how many are needed:
    that is a result, and the exit status is 0.

    A promise holds under the controller that was active: fit first, then calibrate. Ctrl+C cancels the job. When the
    connection is lost it goes on, and `quorum jobs show` waits for it.

    Example: `quorum calibrate pets my-photos --epsilon 0.02 --delta 0.1`
    """
    from service.cli.following import follow
    from service.cli.reports import show_calibration
    from service.cli.sending import send
    from service.client import CalibrationResult

    found = look(folder)
    pictures = _choose(found, sample_size)
    paths: list[Path] = []

    async def conversation(client: AsyncQuorumClient) -> JobOut:
        parcel = _parcel(found, pictures, await client.get_label_set(label_set), (epsilon, delta))
        paths.extend(picture.path for picture, _ in parcel.pictures)
        job = await send(client, parcel, url=url)
        return await follow(client, job.id, url=url, as_json=as_json)

    job = talk(Target(url, embeds=True), conversation, as_json=as_json)
    if not as_json:
        with in_sentences():
            show_calibration(CalibrationResult.of(job), label_set, paths)


def _choose(found: Found, size: int | None) -> list[Picture]:
    """Of what is found. Either images or classes of images, never both: who knows what was meant."""
    with_images = [name for name, pictures in found.classes.items() if pictures]
    if found.loose and with_images:
        refuse(
            f"{printable(found.folder)} has images of its own and images in sub-folders ({listed(with_images)}). Put "
            "all of them into it, unlabelled, or all into sub-folders that are named like their classes"
        )
    if not found.loose:
        if not found.classes:
            refuse(f"{printable(found.folder)} has no images (JPEG, PNG, WebP, GIF and BMP are read)")
        check_not_empty(found)
    pictures = [*found.loose, *(picture for inside in found.classes.values() for picture in inside)]
    if size is None or size >= len(pictures):
        return pictures
    with err.status(f"Choosing from {count(len(pictures), 'image', 'images')} …"):
        return sample(pictures, size, seed=0)


def _parcel(found: Found, pictures: Sequence[Picture], label_set: LabelSetOut, levels: Levels) -> Parcel:
    from service.cli.sending import Parcel, say_what_is_left_out
    from service.client import calls

    say_what_is_left_out(found)
    labels: list[str] | None = None
    if found.loose:
        note("Images without labels.")
    else:
        by_folder = match(found.classes, list(label_set.labels), label_set.name)
        note(f"Labelled images, {count(len(by_folder), 'class', 'classes')}.")
        labels = [by_folder[picture.path.parent.name] for picture in pictures]

    def call(contents: Sequence[bytes]) -> Call[JobOut]:
        return calls.calibrate_cascade(label_set.name, contents, labels, *levels)

    unlabelled: list[str | None] = [None] * len(pictures)
    return Parcel(list(zip(pictures, labels or unlabelled, strict=True)), call, REMEDY)
