"""The types of the NumPy arrays that all rooms share."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

# Rows of the unit cube in single precision, in the archive and in the input of models. The tree
# builder reads single precision only, so double precision would cost a copy for each fit. Gathering
# rows moves half as much memory. Rows that differ only in the last bits after decoding and encoding
# become equal again. Objective values are in double precision.
RowArray = npt.NDArray[np.float32]
