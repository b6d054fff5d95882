"""A small byte-level BPE tokenizer whose file alone turns a text into exactly `context_length` ids."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

PAD, START, END = "<pad>", "<start>", "<end>"
# The order in which the trainer numbers the special tokens; the towers' `pad_id` and `eos_id` are these.
SPECIAL_TOKENS = (PAD, START, END)
PAD_ID, START_ID, END_ID = range(3)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int, context_length: int) -> Tokenizer:
    """BPE over lower-cased texts. Byte level: no text is outside the vocabulary.

    Lower-casing, start and end tokens, truncation and padding are part of the saved file, so whoever serves the tower
    needs `Tokenizer.from_file` and nothing else.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    fix_length(tokenizer, context_length=context_length, pad_id=PAD_ID, pad_token=PAD)
    return tokenizer


def fix_length(tokenizer: Tokenizer, *, context_length: int, pad_id: int, pad_token: str) -> None:
    """Make every encoding exactly `context_length` ids long, the end token kept when a text is cut."""
    tokenizer.enable_truncation(max_length=context_length)
    tokenizer.enable_padding(length=context_length, pad_id=pad_id, pad_token=pad_token)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Token ids: int64[n, context_length]."""
    return np.array([encoding.ids for encoding in tokenizer.encode_batch(list(texts))], dtype=np.int64)
