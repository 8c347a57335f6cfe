"""A small data set whose rows tests can recompute."""

import numpy as np
import pandas as pd

ROWS = 200


def toy_frame(n_rows: int = ROWS) -> pd.DataFrame:
    """Make rows whose class depends on a number and a category; some values are missing."""
    rng = np.random.default_rng(1)
    size = rng.normal(size=n_rows).round(3)
    colour = rng.choice(["red", "green", "None"], n_rows)
    is_yes = size + (colour == "red") + rng.normal(scale=0.5, size=n_rows) > 0.4
    frame = pd.DataFrame(
        {"size": size, "colour": colour, "answer": np.where(is_yes, "yes", "no")}, dtype="object"
    )
    frame.loc[[3, 5], "size"] = ""
    frame.loc[7, "colour"] = ""
    return frame
