"""Icon sets as Iconify packs them: SVG bodies in one JSON file."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def slug_of(name: str) -> str:
    """An emoji's name as icon sets write it: "face with medical mask" becomes "face-with-medical-mask"."""
    text = unicodedata.normalize("NFKD", name.lower().replace("'", "").replace("&", ""))
    return re.sub(r"[^a-z0-9]+", "-", text.encode("ascii", "ignore").decode()).strip("-")


@dataclass(frozen=True)
class IconSet:
    """`icons` and `aliases` by name, `characters` from code points (lower-case hex) to names, `categories` from their
    names to icon names; width and height are the set's defaults in user units."""

    icons: Mapping[str, Mapping[str, Any]]
    aliases: Mapping[str, Mapping[str, Any]]
    characters: Mapping[str, str]
    categories: Mapping[str, tuple[str, ...]]
    width: float
    height: float

    @classmethod
    def read(cls, folder: Path) -> "IconSet":
        """The set in an unpacked package."""

        def load(name: str) -> dict[str, Any]:
            path = folder / name
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            return content

        data = load("icons.json")
        return cls(
            icons=data["icons"],
            aliases=data.get("aliases", {}),
            characters=load("chars.json"),
            categories={name: tuple(icons) for name, icons in load("metadata.json").get("categories", {}).items()},
            width=data.get("width", 16),
            height=data.get("height", 16),
        )

    def __contains__(self, name: str) -> bool:
        return name in self.icons or name in self.aliases

    def svg(self, name: str, colour: str = "#000") -> str:
        """The icon as a document; what takes the colour of its surroundings is drawn in `colour`."""
        icon = self.icons[name if name in self.icons else self.aliases[name]["parent"]]
        box = " ".join(
            str(icon.get(key, default))
            for key, default in (("left", 0), ("top", 0), ("width", self.width), ("height", self.height))
        )
        body = icon["body"].replace("currentColor", colour)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
            f' viewBox="{box}">{body}</svg>'
        )
