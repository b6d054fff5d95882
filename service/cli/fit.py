"""`quorum fit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import options
from service.cli.connection import Target, in_sentences, talk
from service.cli.folders import Found, Picture, check_not_empty, look, match, refuse, sample
from service.cli.output import count, err, note, printable, warn

if TYPE_CHECKING:
    from service.api.schemas import ActiveCascadeOut, JobOut, LabelSetOut
    from service.cli.sending import Parcel
    from service.client import AsyncQuorumClient, Call

REMEDY = "Take fewer of each class with --shots N."


@dataclass(frozen=True, slots=True)
class Chosen:
    """`classes` has, by folder name, the images that are taken."""

    found: Found
    classes: dict[str, Sequence[Picture]]
    seed: int


def fit(
    label_set: options.LabelSet,
    folder: options.Folder,
    shots: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Take at most N different images of each class, chosen by their contents and the seed.",
            show_default="all",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            max=(1 << 32) - 1,
            metavar="N",
            help="The same images and seed give the same choice and the same fit.",
        ),
    ] = 0,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Fit how much each backbone's vote counts for a label set, on labelled images.

    FOLDER has one sub-folder per class, named exactly like the label. One image per class is enough to try; more carry
    further. Files that are no images are left out, and said. One job takes 20,000 images and 256 MiB, unless the server
    is set otherwise; a larger folder is refused before it is read, and --shots takes part of it.

    The fit is compared with what answers without it, on held-out images. Where it is no better it is refused and
    nothing is activated: that is a result, and the exit status is 0 (with --json, `result.accepted` tells).

    Ctrl+C cancels the job. When the connection is lost it goes on, and `quorum jobs show` waits for it.

    Example: `quorum fit pets my-photos --shots 4`
    """
    from service.cli.following import follow
    from service.cli.reports import show_fit
    from service.cli.sending import send
    from service.client import FitResult

    chosen = _choose(look(folder), shots, seed)
    paths: list[Path] = []

    async def conversation(client: AsyncQuorumClient) -> JobOut:
        parcel = _parcel(chosen, await client.get_label_set(label_set))
        paths.extend(picture.path for picture, _ in parcel.pictures)
        begun = await send(client, parcel, url=url)
        job = await follow(client, begun.id, url=url, as_json=as_json)
        if job.result and job.result.get("version"):
            _warn_of_cascade((await client.get_label_set(label_set)).cascade)
        return job

    job = talk(Target(url, embeds=True), conversation, as_json=as_json)
    if not as_json:
        with in_sentences():
            show_fit(FitResult.of(job), label_set, paths)


def _warn_of_cascade(cascade: ActiveCascadeOut | None) -> None:
    """A promise is about one controller, so a new one ends it."""
    if cascade is not None and not cascade.applies:
        warn(f"The cascade does not apply now; `quorum calibrate` makes another. {cascade.reason}")


def _choose(found: Found, shots: int | None, seed: int) -> Chosen:
    if not found.classes:
        refuse(f"{printable(found.folder)} has no sub-folders. Make one for each class, named like its label")
    check_not_empty(found)
    if shots is None:
        return Chosen(found, dict(found.classes), seed)
    total = sum(map(len, found.classes.values()))
    with err.status(f"Choosing from {count(total, 'image', 'images')} …"):
        chosen = {name: sample(pictures, shots, seed) for name, pictures in found.classes.items()}
    fewer = [name for name, pictures in chosen.items() if len(pictures) < shots]
    if fewer:
        note(f"Fewer than {shots} different images in {count(len(fewer), 'class', 'classes')}; all of them are taken.")
    return Chosen(found, dict(chosen), seed)


def _parcel(chosen: Chosen, label_set: LabelSetOut) -> Parcel:
    from service.cli.sending import Parcel, say_what_is_left_out, warn_of_classes_without_images
    from service.client import calls

    labels = match(chosen.classes, list(label_set.labels), label_set.name)
    say_what_is_left_out(chosen.found)
    warn_of_classes_without_images(label_set, labels.values())
    pictures = [(picture, labels[name]) for name, pictures in chosen.classes.items() for picture in pictures]

    def call(contents: Sequence[bytes]) -> Call[JobOut]:
        examples = [(image, label) for image, (_, label) in zip(contents, pictures, strict=True)]
        return calls.fit_controller(label_set.name, examples, chosen.seed)

    return Parcel(pictures, call, REMEDY)
