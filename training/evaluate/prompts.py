"""Which sentences stand around a class name, by kind of picture; the same for every backbone.

The sentences are what someone writes who knows the kind of picture and how its classes are called ("flag of Fiji",
"digit three"). They were never chosen by test scores.
"""

from collections.abc import Mapping

from service.pipeline.labels import DEFAULT_TEMPLATES

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    # What the gateway uses when a request names no templates, so that these figures are those of a plain request.
    "photo": DEFAULT_TEMPLATES,
    "greyscale photo": ("a photo of a {}.", "a greyscale picture of a {}."),
    "drawing": ("a drawing of a {}.", "clip art of a {}.", "a picture of a {}."),
    "emoji": ("an emoji of a {}.", "a drawing of a {}."),
    "icon": ("an icon of a {}.", "a symbol for a {}."),
    "sprite": ("pixel art of a {}.", "a {}, a figure from a game."),
    "flag": ("the {}.", "a {}."),
    "digit": ("the {}.", "a handwritten {}.", "a picture of the {}."),
    "sky": ("a telescope photo of a {}.", "a {} in space."),
}

# Sources that are not named here hold photographs.
KIND_OF_SOURCE: Mapping[str, str] = {
    "clip_art": "drawing",
    "digits": "digit",
    "emoji": "emoji",
    "fashion_mnist": "greyscale photo",
    "flags": "flag",
    "flash_cards": "drawing",
    "game_icons": "icon",
    "icon_park": "icon",
    "mnist": "digit",
    "nebulae": "sky",
    "openmoji": "emoji",
    "tux_paint": "drawing",
    "wesnoth": "sprite",
}


def kind_of(source: str) -> str:
    """The kind of picture that a source holds, a key of `TEMPLATES`."""
    return KIND_OF_SOURCE.get(source, "photo")


def templates_of(source: str) -> tuple[str, ...]:
    """The templates for a source's class names."""
    return TEMPLATES[kind_of(source)]
