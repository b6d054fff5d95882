"""How a tower's weights are stored."""

from typing import Literal, get_args

Precision = Literal["float32", "float16", "int8"]
"""`float16` halves the file and computes in float32; `int8` is the image tower alone, statically quantised (the text
tower, whose embeddings are kept per label set, is then stored as float16)."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
