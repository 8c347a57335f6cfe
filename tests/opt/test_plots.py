"""Pictures: the table says it, the figure shows it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest

from rush_opt import Float, FrozenTrial, Space, TuneResult
from rush_opt.plots import history_table

mpl.use("agg")


def trial(number: int, value: float | None) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        key=f"key-{number}",
        state="failed" if value is None else "finished",
        params={"x": 0.5},
        value=value,
        result={} if value is None else {"loss": value},
        error="oops" if value is None else None,
        worker=0,
        started_at=100.0 + number,
        ended_at=101.0 + number,
        notes={},
    )


@pytest.fixture
def result() -> TuneResult:
    values = [3.0, None, 1.0, 2.0]
    return TuneResult(
        frozen_trials=[trial(number, value) for number, value in enumerate(values)],
        space=Space({"x": Float(0, 1)}),
        metrics=("loss",),
        directions=("minimize",),
        seed=1,
        stop_reason="n_trials",
        network_id="any",
        started_at=100.0,
        ended_at=105.0,
        workers=[],
    )


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_the_best_so_far_follows_the_direction(result: TuneResult) -> None:
    table = history_table(result)
    assert table["seconds"].tolist() == [1.0, 3.0, 4.0]
    assert table["best"].tolist() == [3.0, 1.0, 1.0]
    upwards = replace(result, directions=("maximize",))
    assert history_table(upwards)["best"].tolist() == [3.0, 3.0, 3.0]


def test_a_run_without_finished_trials_has_an_empty_history(result: TuneResult) -> None:
    assert history_table(replace(result, frozen_trials=[trial(0, None)])).empty


def test_the_figure_shows_the_table_and_says_its_units(result: TuneResult, tmp_path: Path) -> None:
    ax = result.plot_history()
    trials, best = ax.get_lines()
    assert trials.get_ydata().tolist() == [3.0, 1.0, 2.0]
    assert best.get_ydata().tolist() == [3.0, 1.0, 1.0]
    assert ax.get_xlabel() == "wall clock, seconds"
    assert ax.get_ylabel() == "loss"
    ax.figure.savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
    assert result.plot_history(ax) is ax
