"""The methods by name: each plays one run and returns its trials in order of completion.

All but ADBO are asked and told by one event loop. ADBO's workers decide one by one and share their
results, which `rush_opt.simulate` plays: the same virtual time, the same durations by number.
"""

from __future__ import annotations

import heapq
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from experiments.peers.spaces import (
    from_configspace_values,
    from_hyperopt_values,
    suggest,
    to_configspace,
    to_hyperopt,
)
from experiments.surrogate_study.problems import Problem
from rush_opt import ADBO, simulate
from rush_opt.search.design import random_design, sobol_design
from rush_opt.space import Config, Space

_DEFAULTS = ADBO()


@dataclass(frozen=True)
class Finished:
    """A trial that ended: its time and its observed value."""

    config: Config
    value: float
    started_at: float
    ended_at: float


@dataclass(frozen=True)
class Run:
    """The task of a method.

    Parameters
    ----------
    problem : Problem
        Only its space and its name are for the method.
    observe : callable
        ``observe(config, number)``: the objective, with the noise of the trial of this number.
    duration : callable
        ``duration(number)``: virtual time of the trial of this number, in order of starting.
    n_workers, n_trials, seed : int
    """

    problem: Problem
    observe: Callable[[Config, int], float]
    duration: Callable[[int], float]
    n_workers: int
    n_trials: int
    seed: int


class AskTell(Protocol):
    """Proposes configurations one at a time, and receives results as they arrive."""

    def ask(self) -> tuple[Any, Config]:
        """Return what the method calls the trial, and its configuration."""

    def tell(self, trial: Any, value: float) -> None:
        """Take the result of a trial."""


def play(run: Run, method: AskTell) -> list[Finished]:
    """Let a method serve asynchronous workers in virtual time.

    Whenever a worker is free, the method is asked, knowing all results until then and, by what it
    was asked before, which configurations are being evaluated. Deciding takes no virtual time.

    Returns
    -------
    list of Finished
        In order of completion.
    """
    running: list[tuple[float, int, Any, Finished]] = []
    finished: list[Finished] = []
    number = 0

    def start(now: float) -> None:
        nonlocal number
        trial, config = method.ask()
        value = run.observe(config, number)
        ends_at = now + run.duration(number)
        heapq.heappush(running, (ends_at, number, trial, Finished(config, value, now, ends_at)))
        number += 1

    for _ in range(min(run.n_workers, run.n_trials)):
        start(0.0)
    while running:
        now, _, trial, done = heapq.heappop(running)
        method.tell(trial, done.value)
        finished.append(done)
        if number < run.n_trials:
            start(now)
    return finished


def play_adbo(run: Run, settings: ADBO = _DEFAULTS) -> list[Finished]:
    """Play ADBO, by default with the settings that `tune()` has by default."""
    n_observed = 0

    def objective(config: Config) -> float:
        nonlocal n_observed
        n_observed += 1
        return run.observe(config, n_observed - 1)

    result = simulate(
        objective,
        run.problem.space,
        n_workers=run.n_workers,
        n_trials=run.n_trials,
        duration=lambda config, number: run.duration(number),
        optimizer=settings,
        cost=lambda n_known: (0.0, 0.0),
        seed=run.seed,
    )
    return [
        Finished(trial.params, trial.value, trial.started_at, trial.ended_at)
        for trial in result.frozen_trials
        if trial.value is not None and trial.started_at is not None
    ]


class Random:
    """Independent uniform points of our space."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)

    def ask(self) -> tuple[None, Config]:
        """Draw a point."""
        return None, self._space.decode(random_design(self._space, 1, self._rng))[0]

    def tell(self, trial: None, value: float) -> None:
        """Nothing is learnt."""


class SobolPoints:
    """The points from which ADBO's initial design is, and nothing else."""

    def __init__(self, space: Space, n_trials: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._configs = iter(space.decode(sobol_design(space, n_trials, rng)))

    def ask(self) -> tuple[None, Config]:
        """Take the next point."""
        return None, next(self._configs)

    def tell(self, trial: None, value: float) -> None:
        """Nothing is learnt."""


class OptunaStudy:
    """A study in memory.

    Parameters
    ----------
    space : Space
    sampler : optuna.samplers.BaseSampler
    """

    def __init__(self, space: Space, sampler: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._study = optuna.create_study(sampler=sampler)

    def ask(self) -> tuple[Any, Config]:
        """Start a trial and suggest all that is active."""
        trial = self._study.ask()
        return trial, suggest(trial, self._space)

    def tell(self, trial: Any, value: float) -> None:
        """Finish the trial."""
        self._study.tell(trial, value)


def optuna_tpe(space: Space, seed: int) -> AskTell:
    """Make Optuna's default; its documentation advises the constant liar for parallel runs."""
    from optuna.samplers import TPESampler

    return OptunaStudy(space, TPESampler(seed=seed, constant_liar=True))


def optuna_univariate_tpe(space: Space, seed: int) -> AskTell:
    """Make TPE that models each parameter on its own."""
    from optuna.samplers import TPESampler

    return OptunaStudy(space, TPESampler(seed=seed, constant_liar=True, multivariate=False))


def optuna_gp(space: Space, seed: int) -> AskTell:
    """Make Optuna's Gaussian process; parameters with a condition are drawn independently."""
    import torch
    from optuna.samplers import GPSampler

    torch.set_num_threads(1)
    return OptunaStudy(space, GPSampler(seed=seed))


class DeepHyperCBO:
    """DeepHyper's search with a random forest and sampled candidates: its fast setting.

    With conditions, its candidates are drawn one by one by ConfigSpace, some 0.1 ms each: then it
    has 1,000 per proposal, and else its default of 10,000.
    """

    def __init__(self, space: Space, seed: int) -> None:
        from deephyper.hpo import CBO, HpProblem

        conditional = any(parameter.when is not None for parameter in space.parameters)
        source = to_configspace(space, seed)
        problem = HpProblem()
        problem.add_hyperparameters(list(source.values()))
        problem.add_conditions(source.conditions)
        self._space = space
        self._folder = tempfile.TemporaryDirectory()
        self._search = CBO(
            problem,
            random_state=seed,
            log_dir=self._folder.name,
            checkpoint_history_to_csv=False,
            surrogate_model="RF",
            acq_optimizer="sampling",
            acq_optimizer_kwargs={"n_points": 1_000 if conditional else 10_000},
        )

    def ask(self) -> tuple[dict[str, Any], Config]:
        """Return its own words for the configuration, which it wants back, and ours."""
        (values,) = self._search.ask(1)
        return values, from_configspace_values(self._space, values)

    def tell(self, trial: dict[str, Any], value: float) -> None:
        """Hand in a result; this package maximizes."""
        self._search.tell([(trial, -value)])


class HyperoptTPE:
    """Hyperopt's TPE, with the trials that are being evaluated among those it knows of."""

    def __init__(self, space: Space, seed: int) -> None:
        from hyperopt import Trials
        from hyperopt.base import Domain

        self._space = space
        self._nested = to_hyperopt(space)
        self._domain = Domain(lambda point: 0.0, self._nested)
        self._trials = Trials()
        self._rng = np.random.default_rng(seed)

    def ask(self) -> tuple[Any, Config]:
        """Insert a new trial that is running from now on."""
        from hyperopt import space_eval, tpe
        from hyperopt.base import JOB_STATE_RUNNING

        ids = self._trials.new_trial_ids(1)
        self._trials.refresh()
        seed = int(self._rng.integers(2**31 - 1))
        self._trials.insert_trial_docs(
            tpe.suggest(ids, self._domain, self._trials, seed, verbose=False)
        )
        self._trials.refresh()
        trial = self._trials.trials[-1]
        trial["state"] = JOB_STATE_RUNNING
        values = {label: found[0] for label, found in trial["misc"]["vals"].items() if found}
        return trial, from_hyperopt_values(self._space, space_eval(self._nested, values))

    def tell(self, trial: Any, value: float) -> None:
        """Mark the trial as done."""
        from hyperopt import STATUS_OK
        from hyperopt.base import JOB_STATE_DONE

        trial["result"] = {"loss": value, "status": STATUS_OK}
        trial["state"] = JOB_STATE_DONE
        self._trials.refresh()


class Smac:
    """SMAC3's facade for hyperparameters; every trial is a new configuration.

    It is told that the objective is deterministic also where it is not: it would evaluate a good
    configuration up to three times otherwise, which none of the others does.
    """

    def __init__(self, space: Space, n_trials: int, seed: int) -> None:
        from smac import HyperparameterOptimizationFacade, Scenario

        self._space = space
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            to_configspace(space, seed),
            deterministic=True,
            n_trials=n_trials,
            seed=seed,
            output_directory=self._folder.name,
        )
        self._smac = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=logging.ERROR
        )

    def ask(self) -> tuple[Any, Config]:
        """Return the trial and its configuration in our words."""
        trial = self._smac.ask()
        return trial, from_configspace_values(self._space, dict(trial.config))

    def tell(self, trial: Any, value: float) -> None:
        """Hand in a result."""
        from smac.runhistory.dataclasses import TrialValue

        self._smac.tell(trial, TrialValue(cost=value), save=False)


METHODS: dict[str, Callable[[Run], list[Finished]]] = {
    "rush ADBO": play_adbo,
    "Optuna TPE": lambda run: play(run, optuna_tpe(run.problem.space, run.seed)),
    "Optuna TPE, univariate": lambda run: play(
        run, optuna_univariate_tpe(run.problem.space, run.seed)
    ),
    "Optuna GP": lambda run: play(run, optuna_gp(run.problem.space, run.seed)),
    "DeepHyper CBO": lambda run: play(run, DeepHyperCBO(run.problem.space, run.seed)),
    "Hyperopt TPE": lambda run: play(run, HyperoptTPE(run.problem.space, run.seed)),
    "SMAC3": lambda run: play(run, Smac(run.problem.space, run.n_trials, run.seed)),
    "Sobol points": lambda run: play(run, SobolPoints(run.problem.space, run.n_trials, run.seed)),
    "random": lambda run: play(run, Random(run.problem.space, run.seed)),
}
