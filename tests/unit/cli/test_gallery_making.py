"""The gallery that is to be filled: what has to be so before it is created, changed or deleted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import typer

from service.cli.gallery_making import Making, made
from service.client.gallery_calls import GalleryOptions
from service.policies import FieldType
from tests.support.gallery_server import GalleryServer

Capture = pytest.CaptureFixture[str]
FIELDS: dict[str, FieldType] = {"year": "integer"}


async def make(
    server: GalleryServer, options: GalleryOptions | None = None, *, rebuild: bool = False, yes: bool = True
) -> list[str]:
    """What was asked before something was deleted."""
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return yes

    async with server.client() as client:
        gallery = await made(client, "shop", Making(options or {}, rebuild, lambda _: None, confirm))
    assert gallery.name == "shop"
    return asked


def writes(server: GalleryServer) -> list[str]:
    return [call for call in server.calls if call.startswith(("PUT", "DELETE"))]


async def test_what_is_not_there_is_created_as_it_was_asked_for(capsys: Capture) -> None:
    server = GalleryServer()
    await make(server, {"backbones": ["small"], "prefix": None, "metric": "ip", "fields": FIELDS})
    assert server.created == [{"backbones": ["small"], "metric": "ip", "fields": FIELDS}]
    assert capsys.readouterr().err == "shop is created.\n"


@pytest.mark.parametrize(
    "options",
    [{}, {"metric": "cosine"}, {"fields": {"year": "integer"}}, {"backbones": ["small"], "prefix": ["small"]}],
)
async def test_what_is_there_as_asked_for_is_taken(options: GalleryOptions) -> None:
    server = GalleryServer({"year": "integer", "source": "string"})
    assert await make(server, options) == []
    assert writes(server) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"metric": "ip"}, "another: cosine"),
        ({"fields": {"year": "string"}}, "another: year=integer"),
        ({"fields": {"month": "integer"}}, "another: year=integer"),
        ({"backbones": ["large"]}, "another: small"),
        ({"prefix": ["large"]}, "another: small"),
    ],
)
async def test_what_is_there_otherwise_is_refused(options: GalleryOptions, sentence: str) -> None:
    server = GalleryServer({"year": "integer"})
    with pytest.raises(typer.BadParameter, match=sentence):
        await make(server, options)
    assert writes(server) == []


async def test_fields_that_do_not_fit_create_nothing() -> None:
    def refuse(types: Mapping[str, FieldType]) -> None:
        raise typer.BadParameter(f"no: {types}")

    server = GalleryServer()
    async with server.client() as client:
        with pytest.raises(typer.BadParameter, match=r"no: {'year': 'integer'}"):
            await made(client, "shop", Making({"fields": FIELDS}, False, refuse, lambda _: True))
    assert writes(server) == []


async def test_a_stale_one_is_refused_with_the_remedy(capsys: Capture) -> None:
    server = GalleryServer({})
    server.stale = "It was made with other towers."
    with pytest.raises(typer.Exit) as caught:
        await make(server)
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "It was made with other towers. Build it anew with --rebuild.\n"


async def test_rebuilt_it_is_as_it_was_and_as_is_said_now() -> None:
    server = GalleryServer({"year": "integer"})
    server.items["a"] = {}
    server.served = ("small", "large")
    server.stale = "It was made with other towers."
    assert await make(server, {"metric": "ip"}, rebuild=True) == ["Delete shop with its 1 item and create it anew?"]
    assert writes(server) == ["DELETE /v1/galleries/shop", "PUT /v1/galleries/shop"]
    assert server.created[-1] == {"backbones": ["small"], "prefix": ["small"], "metric": "ip", "fields": FIELDS}


async def test_backbones_that_are_chosen_anew_choose_their_prefix_anew() -> None:
    server = GalleryServer({})
    server.served = ("small", "large")
    assert await make(server, {"backbones": ["large"]}, rebuild=True) == []
    assert server.created[-1] == {"backbones": ["large"], "metric": "cosine", "fields": {}}


@pytest.mark.parametrize(
    "options", [{}, {"backbones": ["huge"]}, {"backbones": ["large"], "prefix": ["small"]}], ids=str
)
async def test_nothing_is_deleted_for_what_cannot_be_created(options: GalleryOptions) -> None:
    server = GalleryServer({})
    server.served = ("large", "medium")
    with pytest.raises(typer.BadParameter, match=r'there is no "(small|huge)" among large'):
        await make(server, options, rebuild=True)
    assert writes(server) == []


async def test_who_says_no_keeps_it() -> None:
    server = GalleryServer({})
    server.items["a"] = {}
    server.served = ("small",)
    with pytest.raises(typer.Exit):
        await make(server, rebuild=True, yes=False)
    assert writes(server) == []
