"""The one array type that annotations use: float64 of any shape."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Array"]

Array = npt.NDArray[np.float64]
