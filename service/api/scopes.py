"""What a key has to be allowed for each call. A call that is not in the table cannot be made part of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.keys import Scope

NEEDED: Final[Mapping[str, Mapping[str, Scope]]] = {
    "/v1/classify": {"POST": "read"},
    "/zero-shot-image-classification": {"POST": "read"},
    "/v1/embeddings": {"POST": "read"},
    "/v1/models": {"GET": "read"},
    "/v1/models/{model_id}": {"GET": "read"},
    "/info": {"GET": "read"},
    "/v1/label-sets": {"GET": "read"},
    "/v1/label-sets/{name}": {"GET": "read", "PUT": "write", "DELETE": "admin"},
    "/v1/label-sets/{name}/controller": {"GET": "read", "POST": "write", "PUT": "write", "DELETE": "write"},
    "/v1/label-sets/{name}/cascade": {"GET": "read", "POST": "write", "PUT": "write", "DELETE": "write"},
    "/v1/jobs": {"GET": "read"},
    "/v1/jobs/{job_id}": {"GET": "read", "DELETE": "write"},
    "/v1/galleries": {"GET": "read"},
    "/v1/galleries/{name}": {"GET": "read", "PUT": "write", "DELETE": "admin"},
    "/v1/galleries/{name}/search": {"POST": "read"},
    "/v1/galleries/{name}/items": {"GET": "read", "POST": "write"},
    "/v1/galleries/{name}/items/lookup": {"POST": "read"},
    "/v1/galleries/{name}/items/delete": {"POST": "write"},
    "/v1/keys": {"GET": "admin"},
    "/v1/admin/log-level": {"GET": "admin", "PUT": "admin"},
}


def needed_scope(method: str, path: str) -> Scope:
    """`path` is the route's, with its parameters' names. Raises `LookupError` for a call that is not in the table."""
    scope = NEEDED.get(path, {}).get(method)
    if scope is None:
        raise LookupError(f"{method} {path} names no scope: add it to NEEDED in service/api/scopes.py")
    return scope
