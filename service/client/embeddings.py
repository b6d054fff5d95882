"""What an embeddings call answers, as one array."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from service.api.embedding_schemas import EmbeddingsResponse
from service.client.errors import UnexpectedResponseError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors` `float32[n, d]`, unit rows, in the order of the inputs; `prompt_tokens` are those of the texts."""

    vectors: NDArray[np.float32]
    model: str
    prompt_tokens: int

    @classmethod
    def of(cls, answer: EmbeddingsResponse) -> Self:
        """Raises `UnexpectedResponseError` for what is no array."""
        import numpy as np  # here, not above: whoever embeds nothing need not load it

        try:
            vectors = np.stack([_vector(each.embedding) for each in sorted(answer.data, key=lambda each: each.index)])
        except ValueError as error:  # no rows, rows of several widths, damaged base64
            raise UnexpectedResponseError("The server answered with embeddings that do not make one array.") from error
        return cls(vectors, answer.model, answer.usage.prompt_tokens)


def _vector(embedding: list[float] | str) -> NDArray[np.float32]:
    import numpy as np  # see above

    if isinstance(embedding, str):
        return np.frombuffer(b64decode(embedding, validate=True), dtype="<f4").astype(np.float32)
    return np.array(embedding, dtype=np.float32)
