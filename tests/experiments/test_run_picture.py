"""The picture of one run shows its two tables, which are written beside it."""

from pathlib import Path

import numpy as np
import pandas as pd

from experiments import run_picture
from rush_opt import Float, simulate


def test_the_picture_is_written_with_its_tables(tmp_path: Path) -> None:
    result = simulate(
        lambda config: config["x"],
        {"x": Float(0.01, 1)},
        n_workers=2,
        n_trials=10,
        optimizer="random",
        duration=lambda config, number: 1.0,
        cost=lambda n_known: (0.0, 0.0),
        seed=1,
    )
    above, below = run_picture.draw(result).axes
    assert len(np.asarray(above.get_lines()[0].get_xdata())) == 10
    assert sum(len(bars) for bars in below.containers) == 10
    assert above.get_xlim() == below.get_xlim()
    run_picture.write(result, tmp_path)
    assert len(pd.read_csv(tmp_path / "one_run_history.csv")) == 10
    assert len(pd.read_csv(tmp_path / "one_run_spans.csv")) == 10
    assert "<svg" in (tmp_path / "one_run.svg").read_text()
