"""The OpenAPI document, completed by the bodies that handlers read themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from service.api.gallery_schemas import ItemsFields, ItemsRequest
from service.api.schemas import CascadeRequest, ClassifyFields, ClassifyRequest, ControllerRequest, ErrorEnvelope
from service.api.scopes import NEEDED
from service.keys import SCOPES

BEARER: Final = "bearer"
ABOUT_KEYS: Final = (
    "An API key of the server's keys file, with the scope that the call names; each of "
    f"{', '.join(SCOPES)} includes those before it. A server without a keys file asks for none."
)
REF_TEMPLATE = "#/components/schemas/{model}"
OWN_BODIES: tuple[type[BaseModel], ...] = (
    ClassifyRequest,
    ControllerRequest,
    CascadeRequest,
    ItemsRequest,
    ItemsFields,
)


def install_openapi(app: FastAPI) -> None:
    """FastAPI lists only the schemas of bodies that it parses; these come in several content types."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document["components"]["schemas"]
        for model in OWN_BODIES:
            schema = model.model_json_schema(ref_template=REF_TEMPLATE)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        _name_scopes(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document


def _name_scopes(document: dict[str, Any]) -> None:
    """The bearer key, what each call takes of it, and how a call is answered without."""
    content = {"application/json": {"schema": {"$ref": REF_TEMPLATE.format(model=ErrorEnvelope.__name__)}}}
    challenge = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750."}}
    components = document["components"]
    components["securitySchemes"] = {BEARER: {"type": "http", "scheme": "bearer", "description": ABOUT_KEYS}}
    components["responses"] = {
        "Unauthorized": {"description": "No valid API key was sent.", "headers": challenge, "content": content},
        "InsufficientScope": {
            "description": "The key's scopes do not allow this.",
            "headers": challenge,
            "content": content,
        },
    }
    for path, methods in NEEDED.items():
        for method, scope in methods.items():
            operation = document["paths"][path][method.lower()]
            operation["security"] = [{BEARER: [scope]}]
            for status, name in (("401", "Unauthorized"), ("403", "InsufficientScope")):
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}


def classify_body() -> dict[str, Any]:
    """The request body of `POST /v1/classify` and the query parameters of its raw form, for `openapi_extra`."""
    file = {"type": "string", "format": "binary"}
    fields = {"type": "string", "description": "JSON with every field of ClassifyRequest but `images`."}
    multipart = {
        "type": "object",
        "required": ["images", "request"],
        "properties": {"images": {"type": "array", "items": file}, "request": fields},
    }
    content = {
        "application/json": {"schema": {"$ref": REF_TEMPLATE.format(model=ClassifyRequest.__name__)}},
        "multipart/form-data": {"schema": multipart},
        "image/*": {"schema": file},
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": _query_parameters()}


def fitting_body(model: type[BaseModel], files: str) -> dict[str, Any]:
    """The request body of a fit or calibration, JSON or multipart with files named `files`, for `openapi_extra`."""
    return _body(model, files, f"JSON with every field of {model.__name__} but the images.")


def items_body(model: type[BaseModel], fields: type[BaseModel]) -> dict[str, Any]:
    """The request body that adds items to a gallery, for `openapi_extra`."""
    return _body(model, "images[ID]", f"JSON of {fields.__name__}.")


def _body(model: type[BaseModel], files: str, about_fields: str) -> dict[str, Any]:
    fields = {"type": "string", "description": about_fields}
    file = {"type": "array", "items": {"type": "string", "format": "binary"}}
    multipart = {"type": "object", "required": [files], "properties": {files: file, "request": fields}}
    content = {
        "application/json": {"schema": {"$ref": REF_TEMPLATE.format(model=model.__name__)}},
        "multipart/form-data": {"schema": multipart},
    }
    return {"requestBody": {"required": True, "content": content}}


def _query_parameters() -> list[dict[str, Any]]:
    properties = ClassifyFields.model_json_schema()["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": f"With a raw image body only. {schema.pop('description', '')}".strip(),
            "schema": schema,
        }
        for name, schema in properties.items()
    ]
