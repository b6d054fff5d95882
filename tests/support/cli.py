"""What the command line printed, without the boxes around it."""

from __future__ import annotations

import re

from typer.testing import Result


def said(result: Result) -> str:
    """What is in the box that usage errors are drawn in."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def plain(text: str) -> str:
    """Words alone: bars and line breaks gone."""
    return " ".join(re.sub(r"[━╸╺]", " ", text).split())
