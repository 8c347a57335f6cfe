"""The types of the NumPy arrays that all rooms share."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

# Rows of the unit cube as a model reads them. scikit-learn's trees accept single precision only.
RowArray = npt.NDArray[np.float32]
