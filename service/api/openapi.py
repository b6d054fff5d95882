"""The OpenAPI document, completed by the body that the classify handler reads itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.api.schemas import ClassifyFields, ClassifyRequest

REF_TEMPLATE = "#/components/schemas/{model}"


def install_openapi(app: FastAPI) -> None:
    """FastAPI lists only the schemas of bodies that it parses; this one comes in four content types."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document["components"]["schemas"]
        schema = ClassifyRequest.model_json_schema(ref_template=REF_TEMPLATE)
        schemas.update(schema.pop("$defs", {}))
        schemas[ClassifyRequest.__name__] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the documented way to extend the document


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
