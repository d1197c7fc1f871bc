"""Array types, and what each stands for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Samples in -1..1, or log10 mel magnitudes."""
DoubleArray = npt.NDArray[np.float64]
"""Measurements that sums of many samples go into."""
Pixels = npt.NDArray[np.uint8]
"""Gray values of 8 bit."""
AnyPixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Gray values or colours of 8, 10 or 12 bit."""
