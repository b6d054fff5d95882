"""Options that several commands have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer


def checked_name(name: str) -> str:
    """What no path of a URL can hold is refused before anybody is asked."""
    if name in ("", ".", ".."):
        raise typer.BadParameter("a name starts with a letter or a digit")
    return name


def checked_gallery(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is None:
        raise typer.BadParameter(
            "a gallery's name has at most 64 letters, digits, dots, underscores and dashes, and starts with one of the "
            "first two"
        )
    return name


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
LabelSet = Annotated[
    str,
    typer.Argument(
        metavar="LABELSET", help="Name of a registered label set.", callback=checked_name, show_default=False
    ),
]
Gallery = Annotated[
    str, typer.Argument(metavar="GALLERY", help="Name of a gallery.", callback=checked_gallery, show_default=False)
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbones",
        "--backbone",
        metavar="A,B,…",
        help="These alone, by their names. Can be repeated.",
        show_default="all",
    ),
]
Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="Where the images are.", exists=True, file_okay=False, show_default=False),
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
    """Labels and names as they are typed: `cat, dog,` are two."""
    return [name for text in texts for part in text.split(",") if (name := part.strip())]
