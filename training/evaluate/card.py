"""The parts of a model card that a command writes; what stands between two markers is replaced, the rest is left alone.

<!-- written by evaluate: NAME -->
...
<!-- end of NAME -->
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

SECTION = re.compile(r"<!-- written by evaluate: ([\w-]+) -->\n(.*?)<!-- end of \1 -->", re.DOTALL)
OPENING = re.compile(r"<!-- written by evaluate: ([\w-]+) -->")


class CardError(ValueError):
    """A model card cannot be brought up to date; the message names the file and the section."""


def fill(card: str, sections: Mapping[str, str]) -> str:
    """The text of a card with its marked sections replaced; those that another suite writes are left alone.

    Raises `CardError` for a section that is not closed, and for a card without any of `sections`.
    """
    closed = {found[1] for found in SECTION.finditer(card)}
    for name in OPENING.findall(card):
        if name not in closed:
            raise CardError(f'section "{name}" has no end')
    if not closed & sections.keys():
        raise CardError(f"there is no section to write; known: {', '.join(sorted(sections))}")
    return SECTION.sub(lambda found: _section(found, sections), card)


def _section(found: re.Match[str], sections: Mapping[str, str]) -> str:
    name = found[1]
    if name not in sections:
        return found[0]
    return f"<!-- written by evaluate: {name} -->\n\n{sections[name]}\n\n<!-- end of {name} -->"


def check(path: Path, names: Iterable[str]) -> None:
    """Raise `CardError` if the card at `path` cannot be filled with the sections `names`."""
    _filled(path, dict.fromkeys(names, ""))


def bring_up_to_date(path: Path, sections: Mapping[str, str]) -> bool:
    """Fill the card at `path`; whether it changed. Raises `CardError`."""
    before, after = _filled(path, sections)
    if after != before:
        path.write_text(after, encoding="utf-8")
    return after != before


def _filled(path: Path, sections: Mapping[str, str]) -> tuple[str, str]:
    try:
        before = path.read_text("utf-8")
        return before, fill(before, sections)
    except OSError as error:
        raise CardError(f"{path}: cannot be read") from error
    except CardError as error:
        raise CardError(f"{path}: {error}") from error
