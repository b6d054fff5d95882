"""`quorum classify`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import options
from service.cli.connection import FAILED, Target, ask
from service.cli.output import bar, complain, count, gflops, out, promise, table
from service.policies import Policy

if TYPE_CHECKING:
    from service.api.schemas import ClassifyResponse, ResultOut, UsageOut, VoteOut
    from service.client import ClassifyOptions

STDIN = "-"
WARNINGS = {
    "deadline": "Not every backbone answered within the deadline; the others did.",
    "degraded": "A backbone failed; the others answered.",
    "budget": "Not everybody was asked: it would have cost more than --max-gflops.",
}

MaxGflops = Annotated[
    float | None,
    typer.Option(
        min=0, help="Ask nobody whose cost would go beyond this, per image.", metavar="G", show_default="no limit"
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="With `cascade`: ask on until the top label has this probability. No promise is given then.",
        metavar="P",
        show_default="as calibrated",
    ),
]


def classify(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Image files; - reads one from standard input.", show_default=False),
    ],
    labels: options.Labels = None,
    label_set: Annotated[
        str | None, typer.Option(metavar="NAME", help="A registered label set, in place of --labels.")
    ] = None,
    template: options.Templates = None,
    policy: Annotated[
        Policy | None,
        typer.Option(
            help="How the votes are combined. `cascade` (after `quorum calibrate`) and `nlc` (after `quorum fit`) need "
            "--label-set; `single` takes exactly one --backbone.",
            show_default="the best that the label set has: cascade, else nlc, else mean",
        ),
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Ask this one alone. Can be repeated.", show_default="all")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="How many labels to show.", metavar="N", show_default="5")
    ] = None,
    deadline_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Answer within this time, with what is known by then.",
            metavar="MS",
            show_default="the server's",
        ),
    ] = None,
    max_gflops: MaxGflops = None,
    min_confidence: MinConfidence = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Say which of your labels fits each image, with no training.

    A broken image among several is reported, the others are answered, and the exit status is 1.

    Example: `quorum classify cat.jpg dog.png --labels "cat, dog, teapot"`

    With a registered label set: `quorum classify - --label-set pets --json < cat.jpg`
    """
    from service.client import calls

    names = ["standard input" if str(path) == STDIN else typer.format_filename(path) for path in images]
    wishes: ClassifyOptions = {
        **_question(labels, label_set, template),
        "policy": policy,
        "backbones": backbone,
        "top_k": top_k,
        "deadline_ms": deadline_ms,
        "max_gflops": max_gflops,
        "min_confidence": min_confidence,
    }
    answer = ask(
        Target(url, embeds=True),
        calls.classify(_contents(images), wishes),
        as_json=as_json,
        words=lambda error: _with_file_name(error.message, error.param, names),
    )
    if not as_json:
        show(answer, names)
    if _report_broken(answer, names):
        raise typer.Exit(FAILED)


def _question(labels: list[str] | None, label_set: str | None, templates: list[str] | None) -> ClassifyOptions:
    if label_set is not None:
        if labels or templates:
            raise typer.BadParameter("a label set has its labels and templates", param_hint="--label-set")
        return {"label_set": label_set}
    names = options.split_at_commas(labels or [])
    if not names:
        raise typer.BadParameter('no labels: give --labels "cat, dog" or --label-set NAME', param_hint="--labels")
    return {"labels": names, "templates": templates or None}


def _contents(paths: list[Path]) -> list[bytes]:
    if sum(str(path) == STDIN for path in paths) > 1:
        raise typer.BadParameter("standard input holds one image, so - can be given once", param_hint="IMAGE")
    return [_content(path) for path in paths]


def _content(path: Path) -> bytes:
    if str(path) != STDIN:
        try:
            return path.read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{typer.format_filename(path)}: {error.strerror}", param_hint="IMAGE") from error
    if sys.stdin.isatty():
        raise typer.BadParameter("standard input is the keyboard; redirect an image into it", param_hint="IMAGE")
    return sys.stdin.buffer.read()


def _with_file_name(message: str, param: str | None, names: list[str]) -> str:
    """The API speaks of `images[2]`, people of the file."""
    place = re.match(r"images\[(\d+)\]", param or "")
    return f"{names[int(place[1])]}: {message}" if place and int(place[1]) < len(names) else message


def _report_broken(answer: ClassifyResponse, names: list[str]) -> bool:
    from service.api.schemas import ItemError

    broken = [item for item in answer.results if isinstance(item, ItemError)]
    for item in broken:
        complain(f"{names[item.index]}: {item.error.message}")
    return bool(broken)


def show(answer: ClassifyResponse, names: list[str]) -> None:
    """What the API says, for people; broken images are reported elsewhere."""
    from service.api.schemas import ResultOut

    results = [item for item in answer.results if isinstance(item, ResultOut)]
    for result in results:
        _show_result(result, names[result.index])
    if len(results) > 1:
        out.print(_total(answer.usage, len(results)), style="dim", markup=False)


def _show_result(result: ResultOut, name: str) -> None:
    shown = table("Label", "Probability", "", "Cosine", numbers=("", "Cosine"))
    for prediction in result.predictions:
        shown.add_row(
            Text(prediction.label),
            bar(prediction.probability),
            f"{prediction.probability:.1%}",
            f"{prediction.cosine:.3f}",
        )
    out.print(name, style="bold", markup=False, soft_wrap=True)
    out.print(shown)
    out.print(_story(result), style="dim", markup=False)
    if result.exit_reason in WARNINGS:
        out.print(WARNINGS[result.exit_reason], style="yellow")
    out.print()


def _story(result: ResultOut) -> str:
    """Who voted under whose weights, what it cost, and what is promised."""
    votes = result.backbones or {}
    weighted = result.controller is not None or len({vote.weight for vote in votes.values()}) > 1
    voice = "" if result.controller is None else f" under {result.controller}"
    parts = [
        f"{result.policy}{voice}: {', '.join(_opinion(name, vote, weighted) for name, vote in votes.items())}",
        f"{gflops(result.gflops)} of {gflops(result.gflops_full)} GFLOPs",
    ]
    if result.failed:
        parts.append(f"no answer from {', '.join(result.failed)}")
    if result.policy == "cascade":
        parts.append(count(result.stages, "stage", "stages"))
    if result.promise is not None:
        parts.append(promise(result.promise.epsilon, result.promise.delta))
    elif result.policy == "cascade":
        parts.append("no promise")
    return "; ".join(parts)


def _opinion(name: str, vote: VoteOut, weighted: bool) -> str:
    weight = f" (weight {vote.weight:.2f})" if weighted else ""
    cached = ", cached" if vote.cached else ""
    return f"{name}{weight} says {vote.top_label} ({vote.probability:.1%}{cached})"


def _total(usage: UsageOut, count: int) -> str:
    calls = ", ".join(f"{name} {number}" for name, number in usage.backbone_calls.items()) or "none, all cached"
    return f"{count} images: {gflops(usage.gflops)} of {gflops(usage.gflops_full)} GFLOPs; calls: {calls}"
