"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Server to ask, such as http://127.0.0.1:8000. Else QUORUM_CLIENT_URL; else the work is done in this "
        "process. A key goes into QUORUM_CLIENT_API_KEY.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the API's JSON, unchanged, and nothing else.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--labels", metavar="A,B,…", help="Classes, with commas between them. Can be repeated."),
]
Templates = Annotated[
    list[str] | None,
    typer.Option(
        "--template",
        metavar="TEXT",
        help='Prompt with {} for the label, such as "a photo of a {}.". Can be repeated; all are averaged.',
    ),
]


def split_at_commas(texts: list[str]) -> list[str]:
    """Labels as they are typed: `cat, dog,` are two."""
    return [label for text in texts for part in text.split(",") if (label := part.strip())]
