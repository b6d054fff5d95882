"""Texts to token ids, by the tokenizer file that travels with the text tower."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.errors import RepositoryError
from service.repository import TextTower


class TextTokenizer:
    """Start, end, padding and truncation are settings inside the file: nothing here knows a special token."""

    def __init__(self, tower: TextTower) -> None:
        """Raises `RepositoryError` for a file that is no tokenizer, or whose length is not the context length."""
        try:
            self._tokenizer = Tokenizer.from_file(str(tower.tokenizer_path))
        except Exception as error:  # the binding raises bare Exception for every kind of malformed file
            raise RepositoryError(
                f"{tower.tokenizer_path}: not a tokenizer file of the `tokenizers` library"
            ) from error
        length = len(self._tokenizer.encode("a").ids)
        if length != tower.config.context_length:
            raise RepositoryError(
                f"{tower.tokenizer_path}: encodes to {length} ids, quorum.context_length says "
                f"{tower.config.context_length}; save the tokenizer with padding and truncation switched on"
            )

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """`int64[n, context_length]`; longer texts are cut as the tower was trained."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)

    def count(self, texts: Sequence[str]) -> int:
        """How many tokens a tower reads of all `texts` together: start and end are among them, padding and what is cut
        off are not."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return sum(sum(encoding.attention_mask) for encoding in encodings)
