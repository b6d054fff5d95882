"""Every route of the application either names the scope that it needs or is open on purpose."""

from __future__ import annotations

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from service.api.guard import GuardedRoute
from service.api.scopes import NEEDED
from service.app import ROUTED
from tests.conftest import MakeApp

OPEN = {
    "/",
    "/docs",
    "/docs/oauth2-redirect",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/playground",
    "/readyz",
    "/static-offline-docs",
}
CHANGING = {"POST", "PUT", "DELETE", "PATCH"}
READING = {
    *("/v1/classify", "/zero-shot-image-classification", "/v1/embeddings"),
    *("/v1/galleries/{name}/search", "/v1/galleries/{name}/items/lookup"),
}
"""Calls that have a body and change nothing."""
FOR_ADMINS = {"/v1/keys", "/v1/admin/log-level"}
"""What others may not even read."""


def routes(make_app: MakeApp) -> list[BaseRoute]:
    """Of the application itself and of everything that it includes."""
    own = [route for route in make_app().routes if isinstance(route, Route | Mount | APIRoute)]
    return [*own, *(route for module in ROUTED for route in module.router.routes)]


def test_every_route_names_its_scope_or_is_open_on_purpose(make_app: MakeApp) -> None:
    calls: dict[str, set[str]] = {}
    for route in routes(make_app):
        path = getattr(route, "path", "")
        if isinstance(route, GuardedRoute):
            calls.setdefault(path, set()).update(route.methods or ())
        else:
            assert path in OPEN, f"{path} asks for no key: use GuardedRoute, or name it in this test"
    assert calls == {path: set(methods) for path, methods in NEEDED.items()}


def test_what_the_application_serves_is_in_its_document_or_open(make_app: MakeApp) -> None:
    paths = make_app().openapi()["paths"]
    assert {*NEEDED, "/healthz", "/readyz", "/metrics"} == set(paths)
    for path, methods in NEEDED.items():
        for method, scope in methods.items():
            operation = paths[path][method.lower()]
            assert operation["security"] == [{"bearer": [scope]}]
            assert {"401", "403"} <= set(operation["responses"])


def test_what_changes_something_needs_more_than_read() -> None:
    for path, methods in NEEDED.items():
        for method, scope in methods.items():
            changes = method in CHANGING and path not in READING
            assert changes == (scope != "read") or path in FOR_ADMINS, f"{method} {path}"


def test_whole_sets_and_galleries_are_deleted_by_admins_alone() -> None:
    admin = {(method, path) for path, methods in NEEDED.items() for method in methods if methods[method] == "admin"}
    reading = {("GET", path) for path in FOR_ADMINS}
    changing = {
        ("DELETE", "/v1/label-sets/{name}"),
        ("DELETE", "/v1/galleries/{name}"),
        ("PUT", "/v1/admin/log-level"),
    }
    assert admin == reading | changing


def test_a_new_route_without_a_scope_cannot_be_made() -> None:
    router = APIRouter(prefix="/v1/new", route_class=GuardedRoute)
    with pytest.raises(LookupError, match=r"POST /v1/new/\{name\} names no scope"):

        @router.post("/{name}")
        async def new(name: str) -> str:
            return name
