"""Digests of pictures by the million, as arrays."""

import numpy as np
import numpy.typing as npt

KEY = "S32"
"""What of a digest is kept in memory, half of its 64 hex digits: 128 bits, which no two pictures share by chance."""

Keys = npt.NDArray[np.bytes_]
