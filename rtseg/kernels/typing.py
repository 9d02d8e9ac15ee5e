"""Names for the one-dimensional contiguous arrays that kernels take."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["F32s", "I32s", "U8s", "U16s"]

F32s: TypeAlias = NDArray[np.float32]
I32s: TypeAlias = NDArray[np.int32]
U8s: TypeAlias = NDArray[np.uint8]
U16s: TypeAlias = NDArray[np.uint16]
