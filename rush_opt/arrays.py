"""The types of the NumPy arrays that all rooms share."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

# Rows of the unit cube as the archive keeps them and a model reads them, in single precision. The
# tree builder reads nothing else, and converting would cost a copy for each fit. Half the memory
# moves when rows are gathered. Rows that differ only in the last bits after decoding and encoding
# become equal again. Objective values stay in double precision.
RowArray = npt.NDArray[np.float32]
