"""`POST /v1/embeddings`, in OpenAI's shape: its clients work against it as they are."""

from __future__ import annotations

import asyncio
from base64 import b64encode

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic_core import to_json

from service.api.classify import deadline_of
from service.api.embedding_inputs import read_inputs
from service.api.embedding_schemas import EmbeddingOut, EmbeddingsRequest, EmbeddingsResponse, EmbeddingsUsageOut
from service.api.guard import GuardedRoute, take_images
from service.api.models import COMMITTEE
from service.api.services import ContextDep, ServicesDep
from service.errors import InvalidRequestError, NotFoundError
from service.pipeline.embed import Floats, Image
from service.pipeline.embeddings import EmbeddingQuery, Embeddings, Input
from service.repository import Backbone, Zoo

router = APIRouter(tags=["embeddings"], route_class=GuardedRoute)


@router.post("/v1/embeddings", response_model=EmbeddingsResponse)
async def embeddings(call: EmbeddingsRequest, services: ServicesDep, context: ContextDep) -> Response:
    """Unit-length embeddings of texts and images in one space, for OpenAI's clients as well.

    All or nothing, since the shape has no place for errors of single inputs: `error.param` names the input.
    """
    deadline = deadline_of(call.deadline_ms, services, context)
    backbones = _backbones(call.model, services.zoo)
    _check_dimensions(call, sum(backbone.embedding_dim for backbone in backbones))
    with context.timings.measure("read"):
        inputs = await asyncio.to_thread(read_inputs, call.input, services.settings)
    await take_images(inputs, context, services)
    answer = await services.embeddings.embed(EmbeddingQuery(inputs, backbones, deadline), context.timings)
    services.metrics.answers.embedded(*_counts(inputs), answer.gflops)
    with context.timings.measure("shape"):
        return Response(await asyncio.to_thread(_json, answer, call), media_type="application/json")


def _backbones(model: str, zoo: Zoo) -> tuple[Backbone, ...]:
    if model == COMMITTEE:
        return zoo.committee.backbones
    if model not in zoo.names:
        known = ", ".join([*zoo.names, COMMITTEE])
        raise NotFoundError(f'There is no model "{model}". This server has: {known}.', param="model")
    return zoo.select([model])


def _check_dimensions(call: EmbeddingsRequest, width: int) -> None:
    if call.dimensions not in (None, width):
        raise InvalidRequestError(
            f"Embeddings of {call.model} have {width} dimensions and are not shortened. Leave the field out.",
            param="dimensions",
        )


def _counts(inputs: tuple[Input, ...]) -> tuple[int, int]:
    images = sum(isinstance(each, Image) for each in inputs)
    return images, len(inputs) - images


def _json(answer: Embeddings, call: EmbeddingsRequest) -> str:
    """An `EmbeddingsResponse`, in a thread and item by item: a thousand vectors in one go take a good part of a second,
    in which the interpreter would do nothing else."""
    usage = EmbeddingsUsageOut(prompt_tokens=answer.prompt_tokens, total_tokens=answer.prompt_tokens)
    data = ",".join(
        EmbeddingOut(index=index, embedding=_encoded(vector, call)).model_dump_json()
        for index, vector in enumerate(answer.vectors)
    )
    model = to_json(call.model).decode()
    return f'{{"object":"list","data":[{data}],"model":{model},"usage":{usage.model_dump_json()}}}'


def _encoded(vector: Floats, call: EmbeddingsRequest) -> list[float] | str:
    if call.encoding_format == "base64":
        return b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
