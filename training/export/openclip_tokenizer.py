"""OpenCLIP's BPE tokenizer as one `tokenizer.json`, ids equal to OpenCLIP's own."""

from open_clip.tokenizer import SimpleTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from training.export.text_cleaning import cleaning
from training.models.tokenizer import fix_length

# The pattern of `SimpleTokenizer`; the special tokens in front of it there are added tokens here.
WORDS = r"""(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
# OpenCLIP pads with id 0, which is the token "!" (CLIP's own history): harmless, since pooling stops at the end token.
PAD_ID = 0


def convert_tokenizer(source: SimpleTokenizer, context_length: int) -> Tokenizer:
    """The vocabulary and merges of `source` with its cleaning (see `text_cleaning`), truncation and zero padding."""
    merges = sorted(source.bpe_ranks, key=lambda pair: source.bpe_ranks[pair])
    tokenizer = Tokenizer(
        models.BPE(vocab=dict(source.encoder), merges=merges, end_of_word_suffix="</w>", continuing_subword_prefix="")
    )
    tokenizer.normalizer = cleaning("lower")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    start, end = (source.decoder[token_id] for token_id in (source.sot_token_id, source.eot_token_id))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (start, end)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, source.sot_token_id), (end, source.eot_token_id)]
    )
    fix_length(tokenizer, context_length=context_length, pad_id=PAD_ID, pad_token=source.decoder[PAD_ID])
    return tokenizer
