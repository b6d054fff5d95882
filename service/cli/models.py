"""`quorum models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from service.cli import options
from service.cli.connection import Target, ask
from service.cli.output import gflops, out, table

if TYPE_CHECKING:
    from service.api.model_schemas import ModelList

DIGEST_SHOWN = 8
"""Hexadecimal digits: enough to tell towers apart, and a line fits into 80 columns."""


def models(url: options.Url = None, as_json: options.Json = False) -> None:
    """List the backbones, cheapest first, and the committee: those that vote where a request names none.

    GFLOPs are the cost of one image; T is the backbone's own temperature; votes: by default, or when asked for by name;
    the digest begins that of the image tower, and for the committee that of all its members.

    Example: `quorum models --url http://127.0.0.1:8000`
    """
    from service.client import calls

    answer = ask(Target(url), calls.models(), as_json=as_json)
    if not as_json:
        _show(answer)


def _show(models: ModelList) -> None:
    from service.api.model_schemas import BackboneOut

    numbers = ("GFLOPs", "Width", "Pixels", "T")
    shown = table("Model", "Family", *numbers, "Votes", "Digest", numbers=numbers, whole=("Model",))
    for model in models.data:
        if isinstance(model, BackboneOut):
            shown.add_row(
                Text(model.id, style="bold"),
                Text(model.family),
                gflops(model.gflops),
                str(model.embedding_dim),
                str(model.image_size),
                f"{model.temperature:.3g}",
                model.votes.rpartition("_")[2],
                model.digests.image[:DIGEST_SHOWN],
            )
        else:
            shown.add_row(
                Text(model.id, style="bold cyan"),
                f"all {len(model.backbones)}",
                gflops(model.gflops),
                str(model.embedding_dim),
                "",
                "",
                "",
                model.digest[:DIGEST_SHOWN],
            )
    out.print(shown)
