"""`quorum search`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.text import Text

from service.cli import conditions, options
from service.cli.connection import FAILED, Target, talk
from service.cli.galleries import NO_GALLERY
from service.cli.output import complain, count, gflops, out, printable, say_raw, table

if TYPE_CHECKING:
    from service.api.gallery_schemas import HitOut, SearchResponse, SearchResult, SearchUsage
    from service.client import AsyncQuorumClient
    from service.client.gallery_calls import SearchOptions
    from service.client.gallery_content import Part, Query

ITEM: Final = "id:"
WORDS: Final = "text:"
WEIGHTED: Final = re.compile(r"(.*\S)\s*=\s*([+-]?(?:\d+\.?\d*|\.\d+))", re.DOTALL)
HINT: Final = "QUERY"
LONGEST_NAME: Final = 120
"""Of what is typed, in answers."""
EXITS: Final = {
    "degraded": "A backbone failed; the others answered.",
    "escalated": "The cheap backbones were not sure enough; all were asked.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its name for people."""

    query: Query
    name: str


Queries = Annotated[
    list[str],
    typer.Argument(
        metavar="QUERY",
        help=f"A file is an image, `{ITEM}NAME` is an item, all else is words (also after `{WORDS}`).",
        show_default=False,
    ),
]
AsMix = Annotated[
    bool,
    typer.Option(
        "--mix", help="Make one query of all, each with a weight after = if not 1; a negative one leads away."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="Only items of which this holds: FIELD=VALUE, FIELD!=VALUE, FIELD>=N, FIELD<N, … Can be repeated: all "
        "must hold, but of several = of one field one. `FIELD=` is for items without a value.",
    ),
]
SearchPolicy = Annotated[
    Literal["single", "mean", "nlc", "cascade"] | None,
    typer.Option(
        help="How the backbones are weighed. `single` takes exactly one --backbone, `cascade` asks the cheap ones "
        "first.",
        show_default="nlc where controllers are shipped, else mean",
    ),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, metavar="P", help="With `cascade`: ask everybody below this.", show_default="as shipped"
    ),
]


def search(
    gallery: options.Gallery,
    query: Queries,
    mix: AsMix = False,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="How many items to show.", metavar="N", show_default="10")
    ] = None,
    where: Where = None,
    policy: SearchPolicy = None,
    backbones: options.Backbones = None,
    min_confidence: MinConfidence = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also each backbone's weight, and its score for each item.")
    ] = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Find the items of a gallery that fit best: words, images, other items, or a mix of these.

    A query that cannot be answered is reported, the others are answered, and the exit status is 1.

    Example: `quorum search shop "a red dress" photo.jpg --where "year>=2020"`

    A mix: `quorum search shop "a red dress=0.7" photo.jpg=0.3 --mix`
    """
    from service.client import gallery_calls

    asked = [_mixed(query)] if mix else [Asked(_part(text), _name(text)) for text in query]
    conditions.check(where or [])
    wishes: SearchOptions = {
        "top_k": top_k,
        "policy": policy,
        "backbones": options.split_at_commas(backbones or []) or None,
        "min_confidence": min_confidence,
        "explain": explain or None,
    }

    async def conversation(client: AsyncQuorumClient) -> SearchResponse:
        if where:
            wishes["filter"] = conditions.compiled(where, (await client.gallery(gallery)).fields, gallery)
        call = gallery_calls.search(gallery, [each.query for each in asked], wishes)
        response = await client.send(call)
        if as_json:
            say_raw(response.text)
        return call.parse(response)

    answer = talk(
        Target(url, embeds=True, galleries=True),
        conversation,
        as_json=as_json,
        words=lambda error: _with_name(error.message, error.param, asked),
        missing=NO_GALLERY,
    )
    if not as_json:
        _show(answer, asked)
    if _report_failed(answer, asked):
        raise typer.Exit(FAILED)


def _part(text: str) -> Part:
    from service.client import ById

    if text.startswith(ITEM):
        return ById(text.removeprefix(ITEM))
    if _is_file(text):
        try:
            return Path(text).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{printable(text)}: {error.strerror}", param_hint=HINT) from error
    words = text.removeprefix(WORDS)
    if not words.strip():
        raise typer.BadParameter("a query without words", param_hint=HINT)
    return words


def _mixed(texts: Sequence[str]) -> Asked:
    from service.client import Mix

    weighted = [_weighted(text) for text in texts]
    return Asked(Mix([(_part(text), weight) for text, weight in weighted]), " + ".join(map(_name, texts)))


def _weighted(text: str) -> tuple[str, float]:
    """`a dress=0.7` are words and their weight; a file of that name is a file."""
    match = WEIGHTED.fullmatch(text)
    if match is None or _is_file(text):
        return text, 1.0
    weight = float(match[2])
    if not 0 < abs(weight) < inf:
        raise typer.BadParameter(f"{printable(text)}: a weight is any number but 0", param_hint=HINT)
    return match[1], weight


def _name(text: str) -> str:
    shown = printable(" ".join(text.split()))
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # words can be longer than any name
        return False


def _with_name(message: str, param: str | None, asked: Sequence[Asked]) -> str:
    """The API speaks of `queries[2]`, people of what they typed."""
    place = re.match(r"queries\[(\d+)\]", param or "")
    return f"{asked[int(place[1])].name}: {message}" if place and int(place[1]) < len(asked) else message


def _report_failed(answer: SearchResponse, asked: Sequence[Asked]) -> bool:
    from service.api.gallery_schemas import SearchFailure

    failed = [result for result in answer.results if isinstance(result, SearchFailure)]
    for result in failed:
        complain(f"{asked[result.index].name}: {result.error.message}")
    return bool(failed)


def _show(answer: SearchResponse, asked: Sequence[Asked]) -> None:
    from service.api.gallery_schemas import SearchResult

    results = [result for result in answer.results if isinstance(result, SearchResult)]
    for result in results:
        out.print(asked[result.index].name, style="bold", markup=False, soft_wrap=True)
        if result.hits:
            out.print(_hits(result))
        else:
            out.print("Nothing is found.", markup=False)
        out.print(_story(result), style="dim", markup=False)
        if result.exit_reason in EXITS:
            out.print(EXITS[result.exit_reason], style="yellow" if result.degraded else "dim")
        out.print()
    if len(results) > 1:
        out.print(_total(answer.usage), style="dim", markup=False)


def _hits(result: SearchResult) -> Any:
    explained = result.backbones if result.weights is not None else []
    with_fields = any(_fields(hit) for hit in result.hits)
    columns = ["Rank", "Item", "Score", *explained, *(["Fields"] if with_fields else [])]
    shown = table(*columns, numbers=("Rank", "Score", *explained))
    for rank, hit in enumerate(result.hits, start=1):
        scores = hit.scores or {}
        shown.add_row(
            str(rank),
            Text(hit.id),
            f"{hit.score:.3f}",
            *(f"{scores[name]:.3f}" if name in scores else "" for name in explained),
            *([Text(_fields(hit))] if with_fields else []),
        )
    return shown


def _fields(hit: HitOut) -> str:
    return " ".join(f"{name}={_written(value)}" for name, value in hit.fields.items() if value is not None)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _story(result: SearchResult) -> str:
    """Who was asked under whose weights, how sure they are, and what it cost."""
    voice = "" if result.controller is None else f" under {result.controller}"
    weights = result.weights or {}
    names = [f"{name} ({weights[name]:.0%})" if name in weights else name for name in result.backbones]
    parts = [
        f"{result.policy}{voice}: {', '.join(names)}",
        f"{gflops(result.gflops)} of {gflops(result.gflops_full)} GFLOPs",
    ]
    if result.confidence is not None:
        parts.append(f"confidence {result.confidence:.2f}")
    if result.policy == "cascade":
        parts.append(count(result.stages, "stage", "stages"))
    if result.failed:
        parts.append(f"no answer from {', '.join(result.failed)}")
    return "; ".join(parts)


def _total(usage: SearchUsage) -> str:
    calls = ", ".join(f"{name} {number}" for name, number in usage.backbone_calls.items()) or "none, all cached"
    done = f"{gflops(usage.gflops)} of {gflops(usage.gflops_full)} GFLOPs"
    return f"{count(usage.queries, 'query', 'queries')}: {done}; calls: {calls}"
