"""Every source that can be built, by name."""

from collections.abc import Sequence
from typing import Final

from training.data.builders import clip_art, digits, emoji, fashion, flags, flash_cards, icons, nebulae, stamps, wesnoth
from training.data.builders.pictures import Source
from training.data.rows import DataError

SOURCES: Final[dict[str, Source]] = {
    source.name: source
    for source in (
        fashion.SOURCE,
        emoji.SOURCE,
        clip_art.SOURCE,
        icons.GAME_ICONS_SOURCE,
        icons.ICON_PARK_SOURCE,
        wesnoth.SOURCE,
        flags.SOURCE,
        nebulae.SOURCE,
        digits.DIGITS_SOURCE,
        emoji.OPENMOJI_SOURCE,
        stamps.SOURCE,
        flash_cards.SOURCE,
        digits.MNIST_SOURCE,
    )
}


def choose(names: Sequence[str]) -> list[Source]:
    """The named sources, all of them for none, in the catalogue's order. Raises `DataError` for an unknown name."""
    unknown = [name for name in names if name not in SOURCES]
    if unknown:
        raise DataError(f"unknown source {', '.join(unknown)}: choose among {', '.join(SOURCES)}")
    return [source for name, source in SOURCES.items() if not names or name in names]
