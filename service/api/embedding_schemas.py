"""`POST /v1/embeddings` on the wire: OpenAI's shape, and `deadline_ms` beside it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, Field, field_validator

from service.api.schemas import Request, Strings

EncodingFormat = Literal["float", "base64"]

TOKENS: Final = "arrays of tokens are not read, since every backbone has a tokenizer of its own; send the texts"


class EmbeddingsRequest(Request):
    model: str = Field(description="A backbone's name, or `committee` for the concatenation of all.")
    input: str | Strings = Field(
        description="Texts and images, alone or mixed in one list. A string that begins with `data:image/`, or is any "
        "other base64 data URI, is an image; every other one is a text, an address of the web included. Texts beyond a "
        "backbone's context length are cut as it was trained."
    )
    encoding_format: EncodingFormat | None = Field(
        None, description="`float` (the default), or `base64` of the little-endian float32 values."
    )
    dimensions: int | None = Field(None, description="The model's own width or nothing; embeddings are not shortened.")
    user: str | None = Field(None, description="Accepted, and neither used nor kept.")
    deadline_ms: int | None = Field(None, ge=1, description="Answer within this time, or with an error.")

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, value: object) -> object:
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, int | list) and not isinstance(first, bool):
            raise ValueError(TOKENS)
        return value


class EmbeddingOut(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int = Field(description="Place of the input.")
    embedding: list[float] | str = Field(description="Of unit length; a string with `encoding_format` base64.")


class EmbeddingsUsageOut(BaseModel):
    prompt_tokens: int = Field(
        description="What the text towers read, start and end included and padding not, summed over the backbones that "
        "were asked. Images have no tokens."
    )
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[EmbeddingOut] = Field(description="One for each input, in their order.")
    model: str
    usage: EmbeddingsUsageOut
