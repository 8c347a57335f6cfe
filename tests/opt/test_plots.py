"""Pictures of a run: their tables, and the figures that show the tables."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from rush_core import WorkerInfo, WorkerState
from rush_opt import Float, FrozenTrial, Space, TuneResult, simulate
from rush_opt.problem.goal import Direction
from rush_opt.results.plots import exploration_table, history_table, shares_table, spans_table
from rush_opt.results.record import RunRecord
from tests.opt.changing import changed, goals

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
    record = RunRecord(
        trials=[trial(number, value) for number, value in enumerate(values)],
        space=Space({"x": Float(0, 1)}),
        goals=goals("loss", "minimize"),
        seed=1,
        stop_reason="n_trials",
        network_id="any",
        started_at=100.0,
        ended_at=105.0,
        workers=[],
    )
    return TuneResult(record)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_the_best_so_far_follows_the_direction(result: TuneResult) -> None:
    table = history_table(result.record)
    assert table["seconds"].tolist() == [1.0, 3.0, 4.0]
    assert table["best"].tolist() == [3.0, 1.0, 1.0]
    upwards = changed(result, goals=goals("loss", "maximize"))
    assert history_table(upwards.record)["best"].tolist() == [3.0, 3.0, 3.0]


def test_a_stopped_trial_is_never_the_best(result: TuneResult) -> None:
    early = [
        replace(trial(number, value), notes={"stopped_at": 1, "lambda": 0.5})
        for number, value in ((0, 0.5), (4, 0.25))
    ]
    stopped = changed(result, trials=[early[0], *result.frozen_trials[1:], early[1]])
    table = history_table(stopped.record)
    assert table["value"].tolist() == [0.5, 1.0, 2.0, 0.25]
    assert math.isnan(table["best"][0])
    assert table["best"][1:].tolist() == [1.0] * 3 == [stopped.best_value] * 3
    assert exploration_table(stopped.record)["improved"].tolist() == [False, False]


def test_a_run_without_finished_trials_has_an_empty_history(result: TuneResult) -> None:
    assert history_table(changed(result, trials=[trial(0, None)]).record).empty


def test_the_figure_of_the_history_shows_its_table_and_names_units(
    result: TuneResult, tmp_path: Path
) -> None:
    ax = result.plot_history()
    trials, best, failed = ax.get_lines()
    assert np.asarray(trials.get_ydata()).tolist() == [3.0, 1.0, 2.0]
    assert np.asarray(best.get_ydata()).tolist() == [3.0, 1.0, 1.0]
    assert ax.get_xlabel() == "wall clock, seconds"
    assert ax.get_ylabel() == "loss"
    plt.gcf().savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
    assert result.plot_history(ax) is ax
    assert np.asarray(failed.get_xdata()).tolist() == [2.0]
    assert failed.get_label() == "failed (1)"


def test_the_history_can_be_drawn_over_trials_and_on_a_logarithmic_axis(result: TuneResult) -> None:
    stopped = replace(trial(4, 0.5), notes={"stopped_at": 3})
    ax = changed(result, trials=[*result.frozen_trials, stopped]).plot_history(
        over="trials", log=True
    )
    lines = {
        str(line.get_label()): np.asarray(line.get_xdata()).tolist() for line in ax.get_lines()
    }
    assert lines["trial"] == [1, 3, 4]
    assert lines["stopped early"] == [5]
    assert lines["failed (1)"] == [2]
    assert (ax.get_xlabel(), ax.get_yscale()) == ("trials that ended", "log")


def test_a_logarithmic_axis_needs_positive_values(result: TuneResult) -> None:
    zero = changed(result, trials=[trial(0, 1.0), trial(1, 0.0)])
    with pytest.raises(ValueError, match="needs positive values, but the run has 0; leave out log"):
        zero.plot_history(log=True)
    with pytest.raises(ValueError, match="over must be 'time' or 'trials', got 'workers'"):
        zero.plot_history(over="workers")  # type: ignore[arg-type]


def test_results_are_compared_in_one_picture(result: TuneResult) -> None:
    other = changed(result, trials=[trial(0, 5.0), trial(1, 0.25)])
    ax = TuneResult.plot_comparison({"first": result, "other": other}, over="trials")
    named = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    assert [line.get_label() for line in named] == ["first: 1", "other: 0.25"]
    assert [np.asarray(line.get_ydata()).tolist() for line in named] == [[3, 1, 1], [5, 0.25]]
    assert len({str(line.get_color()) for line in named}) == 2
    upwards = changed(result, goals=goals("loss", "maximize"))
    message = r"one and the same objective, got \['maximize loss', 'minimize loss'\]"
    with pytest.raises(ValueError, match=message):
        TuneResult.plot_comparison({"first": result, "other": upwards})
    with pytest.raises(ValueError, match=r"one and the same objective, got \[\]"):
        TuneResult.plot_comparison({})
    nothing = changed(result, trials=[])
    assert TuneResult.plot_comparison({"first": result, "none": nothing}, log=True) is not None


# -- the timeline, the shares and exploration ------------------------------------------------------


def worker(number: int, started_at: float) -> WorkerInfo:
    return WorkerInfo(
        worker_id=f"w{number}",
        number=number,
        host="here",
        pid=1,
        state=WorkerState.STOPPED,
        started_at=started_at,
        ended_at=105.0,
        reason=None,
        heartbeat_s=None,
        task_keys=(),
    )


@pytest.fixture
def modelled(result: TuneResult) -> TuneResult:
    """Two workers; the second and third trial were proposed by a model, the last by a proposer."""
    first, second, third, fourth = result.frozen_trials
    return changed(
        result,
        workers=[worker(0, 100.0), worker(1, 100.5)],
        trials=[
            first,
            replace(second, notes={"surrogate_s": 0.25, "acquisition_s": 0.125, "lambda": 2.0}),
            replace(third, notes={"surrogate_s": 0.5, "lambda": 0.5}, worker=1),
            replace(fourth, notes={"surrogate_s": 0.5, "lambda": 0.25, "proposer": 7}),
        ],
    )


def test_spans_have_the_phases_of_each_worker(modelled: TuneResult) -> None:
    table = spans_table(modelled.record)
    assert table.to_dict("split")["data"] == [
        [1, "startup", 0.0, 0.5, ""],
        [0, "objective", 0.0, 1.0, "finished"],
        [0, "proposing", 0.625, 1.0, ""],
        [0, "objective", 1.0, 2.0, "failed"],
        [1, "proposing", 1.5, 2.0, ""],
        [1, "objective", 2.0, 3.0, "finished"],
        [0, "objective", 3.0, 4.0, "finished"],
    ]


def test_spans_leave_out_trials_that_no_worker_of_this_run_ran(modelled: TuneResult) -> None:
    first, second, *_ = modelled.frozen_trials
    warm = replace(first, worker=None, started_at=None)
    earlier = replace(second, started_at=50.0, ended_at=60.0)
    assert spans_table(changed(modelled, trials=[warm, earlier], workers=[]).record).empty


def test_shares_of_a_worker_add_up_to_one() -> None:
    result = simulate(
        lambda config: config["x"],
        {"x": Float(0, 1)},
        n_workers=3,
        timeout=20.0,
        duration=lambda config, number: 1.0,
        cost=lambda n_known: (0.5, 0.25),
        seed=1,
    )
    table = shares_table(result.record)
    assert table.index.tolist() == [0, 1, 2]
    assert table.sum(axis=1).tolist() == pytest.approx([1.0] * 3)
    assert table["objective"].mean() == pytest.approx(result.objective_share)
    bars = result.plot_shares().containers
    assert [bar.get_label() for bar in bars] == list(table)
    heights = [patch.get_height() for patch in bars[1]]
    assert heights == pytest.approx(table["objective"].tolist())


@pytest.mark.parametrize(
    ("direction", "improved"), [("minimize", [False, True, False]), ("maximize", [False] * 3)]
)
def test_the_exploration_table_has_the_value_for_each_weight(
    direction: Direction, improved: list[bool], modelled: TuneResult
) -> None:
    table = exploration_table(changed(modelled, goals=goals("loss", direction)).record)
    assert table["number"].tolist() == [1, 2, 3]
    assert table["lambda"].tolist() == [2.0, 0.5, 0.25]
    assert table["value"].isna().tolist() == [True, False, False]
    assert table["improved"].tolist() == improved


def test_the_figures_show_their_tables(modelled: TuneResult) -> None:
    ax = changed(modelled, deadline=104.5).plot_timeline()
    assert sum(len(bars) for bars in ax.containers) == len(spans_table(modelled.record))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1"]
    assert ax.get_xlabel() == "wall clock, seconds"
    others, better, failed = modelled.plot_exploration().get_lines()
    assert np.asarray(better.get_xdata()).tolist() == [0.5]
    assert np.asarray(others.get_xdata()).tolist() == [2.0, 0.25]
    assert np.asarray(failed.get_xdata()).tolist() == [2.0]


def test_failed_and_stopped_trials_have_colours_of_their_own(modelled: TuneResult) -> None:
    first, *others = modelled.frozen_trials
    stopped = changed(modelled, trials=[replace(first, notes={"stopped_at": 1}), *others])
    labels = [bars.get_label() for bars in stopped.plot_timeline().containers]
    assert labels == ["startup", "objective", "stopped early", "failed", "proposing"]
    exploration = changed(
        modelled, trials=[replace(t, notes={"lambda": 1.0, "stopped_at": 1}) for t in others]
    ).plot_exploration()
    assert "stopped early" in [line.get_label() for line in exploration.get_lines()]


def test_many_workers_have_labels_that_do_not_overlap(tmp_path: Path) -> None:
    result = simulate(
        lambda config: config["x"],
        {"x": Float(0, 1)},
        n_workers=64,
        n_trials=128,
        optimizer="random",
        duration=1.0,
        seed=1,
    )
    for name, axis, side in (("timeline", "y", "y0"), ("shares", "x", "x0")):
        ax = getattr(result, f"plot_{name}")()
        ax.figure.draw_without_rendering()
        labels = getattr(ax, f"get_{axis}ticklabels")()
        boxes = sorted(
            (label.get_window_extent() for label in labels), key=lambda b: getattr(b, side)
        )
        assert len(labels) >= 16
        ends = [(getattr(box, f"{axis}1"), getattr(box, f"{axis}0")) for box in boxes]
        assert all(end < begin for (end, _), (_, begin) in itertools.pairwise(ends))


def test_figures_of_a_run_without_trials_are_empty(result: TuneResult) -> None:
    nothing = changed(result, trials=[], workers=[])
    for axes in (nothing.plot_timeline(), nothing.plot_shares(), nothing.plot_exploration()):
        assert not any(axes.containers)
