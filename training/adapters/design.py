"""What is added to a frozen CLIP, and where: designs by name, as values that travel in checkpoints and cards.

Equations are those of "Advancing Vision-Language Models with Adapter Ensemble Strategies". What it leaves open is
settled here and named in the docstrings of `layers`, `masks`, `attention` and `lora`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from training.adapters.errors import AdapterError

Kind = Literal["none", "pyramid", "reverse-bottleneck", "mlp", "on-top", "bottleneck", "msa", "msa-lo", "clip-adapter"]
Where = Literal["attention", "feed-forward", "both", "top"]
Towers = Literal["both", "vision", "language"]
Scale = Literal["L", "M", "S"]
MaskForm = Literal["minus_inf", "literal"]
Factors = Literal["shared", "separate"]
Activation = Literal["gelu", "none"]
Branches = Literal["low-rank", "whole"]

TOP_KINDS: tuple[Kind, ...] = ("none", "on-top", "clip-adapter")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "where": get_args(Where),
    "towers": get_args(Towers),
    "mask": get_args(MaskForm),
    "factors": get_args(Factors),
    "activation": get_args(Activation),
    "branches": get_args(Branches),
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """One composition of adapters, the same in every block of the towers it is added to.

    - `kind`: pyramid ensemble (eq. 1), reverse bottleneck (3), MLP stack (4), on top (2), bottlenecks (5), MSA
      (6 to 10), MSA-Lo (11), CLIP-Adapter, or nothing.
    - `where`: on the output of the attention, of the feed-forward part, of both, or on top of the tower. For `msa` and
      `msa-lo` "attention" is the multi-scale attention alone, "feed-forward" the adapter after the feed-forward part
      alone (the paper's "w/o MSA"), "both" the whole.
    - `n`: N of equations 1 to 4 (N * d * d parameters per place); for bottlenecks, how many are averaged.
    - `width`: hidden width of a bottleneck; for CLIP-Adapter 0 stands for a quarter of the embedding's width.
    - `rank`: of the low-rank factors of MSA-Lo; `factors`: B shared over the scales (after the feed-forward part: A
      shared over three B), or both separate per branch.
    - `scales`: branches of the multi-scale attention; the large one carries the frozen attention and is always there.
    - `image_reach`, `text_reach`: D of equations 7 and 8 for L, M and S as shares of the patches in a row, and of the
      context length; D is rounded up. The paper gives no numbers beyond "large is the full matrix".
    - `mask`: scores outside a scale become minus infinity, or 0 as equation 9 says to the letter.
    - `branches`: what the middle and small branch of MSA-Lo add, see `lora.LowRankScales`.
    - `activation`: between the two matrices of a bottleneck; "none" is equation 5 to the letter.
    - `init_std`: standard deviation of small initial values; `ratio`: CLIP-Adapter's share of what is new.

    Raises `AdapterError` for values that do not go together.
    """

    name: str
    kind: Kind
    where: Where = "both"
    towers: Towers = "both"
    n: int = 2
    width: int = 128
    rank: int = 16
    factors: Factors = "shared"
    scales: tuple[Scale, ...] = ("L", "M", "S")
    image_reach: tuple[float, float, float] = (1.0, 0.5, 0.25)
    text_reach: tuple[float, float, float] = (1.0, 0.5, 0.25)
    mask: MaskForm = "minus_inf"
    branches: Branches = "low-rank"
    activation: Activation = "gelu"
    init_std: float = 1e-3
    ratio: float = 0.2

    def __post_init__(self) -> None:
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                raise AdapterError(f"{key}: {getattr(self, key)!r} is not one of {', '.join(allowed)}.")
        if (self.where == "top") != (self.kind in TOP_KINDS):
            raise AdapterError(f"where: {self.kind} cannot be added at {self.where!r}.")
        if self.n < 1 or self.rank < 1 or self.width < (0 if self.kind == "clip-adapter" else 1):
            raise AdapterError("n, rank and width must be at least 1.")
        if self.scales not in (("L",), ("L", "M"), ("L", "S"), ("L", "M", "S")):
            raise AdapterError(f"scales: {self.scales} must be L with or without M and S, in this order.")
        for key in ("image_reach", "text_reach"):
            reach = getattr(self, key)
            if len(reach) != 3 or not all(0 < share <= 1 for share in reach):
                raise AdapterError(f"{key}: needs three shares in (0, 1], for L, M and S.")
            if reach[0] != 1:
                raise AdapterError(f"{key}: the large scale is the full matrix, its share is 1.")
        if not (self.init_std >= 0 and 0 <= self.ratio <= 1):
            raise AdapterError("init_std must not be negative, ratio must lie in 0..1.")

    def to_dict(self) -> dict[str, Any]:
        """Plain strings, numbers and lists: what JSON and TOML can hold."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Design":
        """Inverse of `to_dict`; keys that are left out get their defaults. Raises `AdapterError`."""
        return cls(**_checked(table))

    def reach(self, kind: Literal["image", "text"]) -> dict[Scale, float]:
        """The share for each of the design's scales, in its order."""
        shares = dict(zip(get_args(Scale), self.image_reach if kind == "image" else self.text_reach, strict=True))
        return {scale: shares[scale] for scale in self.scales}


_TYPES: Mapping[str, type | tuple[type, ...]] = {"n": int, "width": int, "rank": int} | dict.fromkeys(
    ("init_std", "ratio"), (int, float)
)
_LISTS = ("scales", "image_reach", "text_reach")


def _checked(table: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments out of a parsed table: lists as tuples, types checked."""
    known = {field.name for field in fields(Design)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise AdapterError(f"unknown key {', '.join(unknown)} of a design; known: {', '.join(sorted(known))}.")
    missing = sorted({"name", "kind"} - set(table))
    if missing:
        raise AdapterError(f"a design needs {' and '.join(missing)}.")
    arguments = dict(table)
    for key, value in table.items():
        if key in _LISTS:
            if not isinstance(value, (list, tuple)):
                raise AdapterError(f"{key}: must be a list.")
            element = str if key == "scales" else (int, float)
            if not all(isinstance(item, element) and not isinstance(item, bool) for item in value):
                raise AdapterError(f"{key}: holds values of a wrong type.")
            arguments[key] = tuple(value) if key == "scales" else tuple(float(item) for item in value)
        elif not isinstance(value, _TYPES.get(key, str)) or isinstance(value, bool):
            raise AdapterError(f"{key}: {value!r} has a wrong type.")
    return arguments


def _msa(name: str, kind: Kind, **changes: Any) -> dict[str, Design]:
    """The whole design under `name`, without its smaller scales, in one tower only, and attention only."""
    whole = Design(name=name, kind=kind, n=1, **changes)
    variants: dict[str, dict[str, Any]] = {
        name: {},
        f"{name}-l": {"scales": ("L",)},
        f"{name}-lm": {"scales": ("L", "M")},
        f"{name}-ls": {"scales": ("L", "S")},
        f"{name}-vision": {"towers": "vision"},
        f"{name}-language": {"towers": "language"},
        f"{name}-attention": {"where": "attention"},
    }
    return {key: replace(whole, name=key, **changes) for key, changes in variants.items()}


def _placed(suffix: str, kind: Kind, **changes: Any) -> dict[str, Design]:
    """`att-`, `ffn-` and `both-` forms of one kind."""
    places: dict[str, Where] = {"att": "attention", "ffn": "feed-forward", "both": "both"}
    return {
        f"{short}-{suffix}": Design(name=f"{short}-{suffix}", kind=kind, where=where, **changes)
        for short, where in places.items()
    }


DESIGNS: Mapping[str, Design] = {
    "zero-shot": Design(name="zero-shot", kind="none", where="top"),
    "clip-adapter": Design(name="clip-adapter", kind="clip-adapter", where="top", width=0),
    "bottleneck": Design(name="bottleneck", kind="bottleneck", n=1),
    **_placed("bottleneck", "bottleneck", n=1),
    "bottleneck-ensemble": Design(name="bottleneck-ensemble", kind="bottleneck", n=2),
    **_placed("bottleneck-ensemble", "bottleneck", n=2),
    **_placed("pyramid", "pyramid", n=2),
    **_placed("rb", "reverse-bottleneck", n=2),
    **_placed("mlp", "mlp", n=2),
    "on-top": Design(name="on-top", kind="on-top", where="top", n=2),
    "without-msa": Design(name="without-msa", kind="msa", where="feed-forward", n=1),
    **_msa("msa", "msa"),
    **_msa("msa-lo", "msa-lo"),
}
"""All designs that have a name. `without-msa` is MSA's feed-forward bottleneck alone, the paper's ablation."""


def design(name: str, /, **overrides: Any) -> Design:
    """The named design, with some of its fields replaced. Raises `AdapterError` for an unknown name or field."""
    if name not in DESIGNS:
        raise AdapterError(f"unknown design {name!r}; known: {', '.join(DESIGNS)}.")
    return Design.from_dict(DESIGNS[name].to_dict() | overrides)
