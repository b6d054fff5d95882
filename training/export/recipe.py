"""Recipes: which backbones make up a model repository, where their weights come from and how they are stored."""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from service.policies import Votes
from training.export.errors import ExportError
from training.export.precision import PRECISIONS, Precision

NOT_STATED = "not stated"
SHARED_KEYS = ("precision", "licence")
"""May be given once for all backbones; what a backbone says itself comes first."""
MEMBER_KEYS = ("run", "openclip", "pretrained", "name", "votes", *SHARED_KEYS)


@dataclass(frozen=True, kw_only=True)
class RunMember:
    """A backbone out of a training run. `name` replaces the one in the run's configuration."""

    run: Path
    name: str | None = None
    precision: Precision = "float16"
    licence: str = NOT_STATED
    votes: Votes = "by_default"


@dataclass(frozen=True, kw_only=True)
class OpenClipMember:
    """One of OpenCLIP's models with the weights of a tag (`pretrained`; only random weights need none)."""

    openclip: str
    pretrained: str | None = None
    name: str | None = None
    precision: Precision = "float32"
    licence: str = NOT_STATED
    votes: Votes = "by_default"


Member = RunMember | OpenClipMember


def load_recipe(path: Path) -> tuple[Member, ...]:
    """The backbones that a TOML file names, in its order.

    Raises `ExportError` when the file is missing, not TOML or not a recipe: the message names the file and the key.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: not TOML: {error}") from error
    return parse_recipe(table, str(path))


def parse_recipe(table: dict[str, Any], where: str) -> tuple[Member, ...]:
    """As `load_recipe`, from a table; `where` names it in errors."""
    _check_keys(table, ("backbones", *SHARED_KEYS), where)
    entries = table.get("backbones")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ExportError(f"{where}: backbones: needs at least one [[backbones]] table.")
    shared = {key: table[key] for key in SHARED_KEYS if key in table}
    return tuple(
        _parse_member(shared | entry, f"{where}: backbones[{index}]") for index, entry in enumerate(entries, start=1)
    )


def _parse_member(entry: dict[str, Any], where: str) -> Member:
    _check_keys(entry, MEMBER_KEYS, where)
    for key, value in entry.items():
        if not isinstance(value, str) or not value.strip():
            raise ExportError(f"{where}: {key}: must be a text that is not empty.")
    if "licence" not in entry:
        raise ExportError(f"{where}: licence: missing; say under which terms the weights may be used.")
    if entry.get("precision", PRECISIONS[0]) not in PRECISIONS:
        raise ExportError(f"{where}: precision: {entry['precision']!r} is not one of {', '.join(PRECISIONS)}.")
    if entry.get("votes", "by_default") not in get_args(Votes):
        raise ExportError(f"{where}: votes: {entry['votes']!r} is not one of {', '.join(get_args(Votes))}.")
    if ("run" in entry) == ("openclip" in entry):
        raise ExportError(f'{where}: needs either "run" or "openclip".')
    if "run" in entry and "pretrained" in entry:
        raise ExportError(f'{where}: "pretrained" names weights of an "openclip" model, a run has its own.')
    if "run" in entry:
        return RunMember(**(entry | {"run": Path(entry["run"])}))
    return OpenClipMember(**entry)


def _check_keys(table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ExportError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(known)}.")


def members_of(target: str, precision: Precision | None) -> tuple[Member, ...]:
    """What one word of the command line stands for: a recipe (`*.toml`), a folder of a run, or an OpenCLIP model.

    `NAME:TAG` and every name without a path separator that is no folder stand for an OpenCLIP model. `precision`
    replaces what members say themselves. Raises `ExportError` as `load_recipe` does.
    """
    members: tuple[Member, ...]
    if target.endswith(".toml"):
        members = load_recipe(Path(target))
    elif Path(target).is_dir() or ("/" in target and ":" not in target):
        members = (RunMember(run=Path(target)),)
    else:
        name, _, tag = target.partition(":")
        members = (OpenClipMember(openclip=name, pretrained=tag or None),)
    if precision is None:
        return members
    return tuple(replace(member, precision=precision) for member in members)
