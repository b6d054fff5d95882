"""The gallery that is to be filled: found as it is asked for, created, or created anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import typer

from service.cli.connection import FAILED
from service.cli.galleries import settled
from service.cli.output import complain, count, note

if TYPE_CHECKING:
    from service.api.gallery_schemas import GalleryDetails, GalleryOut
    from service.client import AsyncQuorumClient
    from service.client.gallery_calls import GalleryOptions
    from service.policies import FieldType


@dataclass(frozen=True, slots=True)
class Making:
    """`check_fields` raises for fields that do not fit what is put in; `confirm` asks before something is deleted."""

    options: GalleryOptions
    rebuild: bool
    check_fields: Callable[[Mapping[str, FieldType]], None]
    confirm: Callable[[str], bool]


async def made(client: AsyncQuorumClient, name: str, making: Making) -> GalleryDetails:
    """Raises `typer.BadParameter` for one that is there otherwise, and ends the program for one that is stale.

    Nothing is created or deleted before all that was asked for is known to be possible.
    """
    found, options = await _found(client, name), making.options
    if found is None:
        making.check_fields(options.get("fields") or {})
        created = await client.create_gallery(name, **options)
        note(f"{name} is created.")
        return created
    if making.rebuild:
        return await _rebuilt(client, found, making)
    _check(found, options)
    making.check_fields(found.fields)
    if found.stale is not None:
        complain(f"{found.stale} Build it anew with --rebuild.")
        raise typer.Exit(FAILED)
    return found


async def _rebuilt(client: AsyncQuorumClient, found: GalleryDetails, making: Making) -> GalleryDetails:
    wanted = _as_it_was(found, making.options)
    making.check_fields(wanted.get("fields") or {})
    await _check_served(client, wanted)
    unknown = found.state != "ready"
    holds = "all that it holds" if unknown else f"its {count(found.items, 'item', 'items')}"
    may_hold = unknown or found.items > 0
    if may_hold and not making.confirm(f"Delete {found.name} with {holds} and create it anew?"):
        note("Nothing is deleted.")
        raise typer.Exit(FAILED)
    await client.delete_gallery(found.name)
    return await client.create_gallery(found.name, **wanted)


async def _found(client: AsyncQuorumClient, name: str) -> GalleryDetails | None:
    from service.client import ApiError

    try:
        gallery, _ = await settled(client, name)
        return gallery
    except ApiError as error:
        if error.status != 404:
            raise
        return None


def _check(found: GalleryOut, options: GalleryOptions) -> None:
    """What is said of a gallery that is there must be so; what is not said may be anything."""
    names = [member.name for member in found.backbones]
    backbones, prefix, metric = options.get("backbones"), options.get("prefix"), options.get("metric")
    if backbones is not None and set(backbones) != set(names):
        _differs(found.name, "backbones", ", ".join(names))
    if prefix is not None and set(prefix) != set(found.prefix):
        _differs(found.name, "prefix", ", ".join(found.prefix))
    if metric is not None and metric != found.metric:
        _differs(found.name, "metric", found.metric)
    if not (options.get("fields") or {}).items() <= found.fields.items():
        has = ", ".join(f"{name}={kind}" for name, kind in found.fields.items())
        _differs(found.name, "field", has or "none")


def _as_it_was(found: GalleryOut, options: GalleryOptions) -> GalleryOptions:
    """Backbones that are chosen anew choose their prefix anew, too."""
    kept: GalleryOptions = {"metric": found.metric, "fields": found.fields}
    if options.get("backbones") is None:
        kept |= {"backbones": [member.name for member in found.backbones], "prefix": found.prefix}
    for name, value in options.items():
        if value is not None:
            kept[name] = value  # type: ignore[literal-required]  # the names are of the same type
    return kept


async def _check_served(client: AsyncQuorumClient, options: GalleryOptions) -> None:
    from service.api.model_schemas import BackboneOut

    served = [model.id for model in (await client.models()).data if isinstance(model, BackboneOut)]
    wanted = options.get("backbones") or served
    for option, names, among in (("backbones", wanted, served), ("prefix", options.get("prefix") or (), wanted)):
        unknown = next((name for name in names if name not in among), None)
        if unknown is not None:
            raise typer.BadParameter(
                f'there is no "{unknown}" among {", ".join(among)}. Say which it shall have', param_hint=f"--{option}"
            )


def _differs(gallery: str, option: str, has: str) -> NoReturn:
    raise typer.BadParameter(
        f"{gallery} is there with another: {has}. Leave the option out, take another name, or add --rebuild to delete "
        "it and create it anew",
        param_hint=f"--{option}",
    )
