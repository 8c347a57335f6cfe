"""Do ADBO's settings hold on the problems on which it is compared?

Variants of ADBO, one setting away from its defaults each, on seeds that the comparison with others
does not use. `quality` runs them into a file of rows of their own; README.md has the commands.

``python -m experiments.peers.settings`` writes a table of the same name for each file of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import pandas as pd

from experiments.peers import ranks
from experiments.peers.methods import Finished, Run, play_adbo
from experiments.provenance import RAW, TABLES
from rush_opt import ADBO
from rush_opt.models.gaussian_process import GaussianProcess
from rush_opt.models.process_then_trees import ProcessThenTrees
from rush_opt.search.candidates import Candidates
from rush_opt.search.exploration import (
    LAMBDA_MEAN,
    LAMBDA_PERIOD,
    Decaying,
    Steady,
    decayed_lambda,
    draw_lambda,
)

# The second one was begun after the first worker's weight had become constant, which the first one
# has not: there the first worker of what is called "rush ADBO" draws its weight, as all others do.
ROWS = (RAW / "peers_settings.csv", RAW / "peers_first_worker.csv")
WITH_CHOICES = ("learners", "layers", "pipeline", "mixed7")
CHOICES = ("rush ADBO, no choices drawn", ranks.OURS, "rush ADBO, choices drawn 0.4")


@dataclass(frozen=True)
class AllDraw:
    """As `Decaying`, and the first worker is like all others.

    Parameters
    ----------
    mean : float
    """

    mean: float = LAMBDA_MEAN

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Draw, decay, and start again."""
        return Decaying(self.mean).weights(n_before + 1, rng)


@dataclass(frozen=True)
class Redrawn:
    """As `AllDraw`, with a new weight for every period.

    Parameters
    ----------
    mean : float
    """

    mean: float = LAMBDA_MEAN

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Draw, decay, and draw again."""
        while True:
            lambda_0 = draw_lambda(rng, self.mean)
            for t in range(LAMBDA_PERIOD):
                yield decayed_lambda(lambda_0, t)


@dataclass(frozen=True)
class Alike:
    """As `AllDraw`, and all workers begin with the same weight."""

    def weights(self, n_before: int, rng: np.random.Generator) -> Iterator[float]:
        """Decay, and start again."""
        for t in count():
            yield decayed_lambda(LAMBDA_MEAN, t)


VARIANTS: dict[str, Callable[[Run], list[Finished]]] = {
    f"rush ADBO, {name}": partial(play_adbo, settings=settings)
    for name, settings in {
        "no choices drawn": ADBO(candidates=Candidates(p_choices=0.0)),
        "choices drawn 0.4": ADBO(candidates=Candidates(p_choices=0.4)),
        "4,000 candidates": ADBO(candidates=Candidates(2_000, 1_000, 1_000)),
        "small steps": ADBO(candidates=Candidates(log10_step=(-3.0, -0.5))),
        "all workers draw": ADBO(exploration=AllDraw()),
        "constant": ADBO(exploration=Steady()),
        "lambda / 2": ADBO(exploration=AllDraw(LAMBDA_MEAN / 2)),
        "lambda * 2": ADBO(exploration=AllDraw(2 * LAMBDA_MEAN)),
        "lambda redrawn": ADBO(exploration=Redrawn()),
        "lambda redrawn, * 2": ADBO(exploration=Redrawn(2 * LAMBDA_MEAN)),
        "lambda alike": ADBO(exploration=Alike()),
        "process up to 150": ADBO(surrogate=ProcessThenTrees(150, GaussianProcess(n_rows=150))),
        "learning longer": ADBO(
            surrogate=ProcessThenTrees(process=GaussianProcess(n_learn=100, n_evaluations=30))
        ),
        "30 evaluations": ADBO(
            surrogate=ProcessThenTrees(process=GaussianProcess(n_evaluations=30))
        ),
        "learning from 100": ADBO(surrogate=ProcessThenTrees(process=GaussianProcess(n_learn=100))),
    }.items()
}


def as_markdown(rows: pd.DataFrame, file: str) -> str:
    """Write how each variant in a file does beside the defaults, on the blocks that both ran."""
    commits = ", ".join(sorted(rows["commit"].unique()))
    parts = [
        "# Settings of ADBO beside its defaults, in virtual time\n",
        f"Rows: `results/raw/{file}`, commits {commits}, made by "
        "`experiments/peers/quality.py`, where README.md says what was run. A win is a block on "
        "which the variant has less regret; below 1 the ratio is in its favour. A regret below "
        f"{ranks.FLOOR:g} of random search's median on the problem counts as none.\n",
        "| variant | workers | wins / losses / ties | ratio of regrets, geometric mean |",
        "|---|---:|---:|---:|",
        *_duel_lines(rows),
    ]
    if set(CHOICES) <= set(rows["method"]):
        parts += [
            "\n## Choices drawn at random, problems that have choices\n",
            "| problem | workers | blocks | median regret: none drawn | a fifth (default) | 0.4 |",
            "|---|---:|---:|---:|---:|---:|",
            *_choice_lines(rows),
        ]
    return "\n".join(parts) + "\n"


def _duel_lines(rows: pd.DataFrame) -> Iterator[str]:
    for variant in (name for name in VARIANTS if name in set(rows["method"])):
        table = ranks.blocks(rows, methods=[variant, ranks.OURS])
        for n_workers, part in table.groupby(level="n_workers"):
            duel = ranks.duels(part, ours=variant).loc[ranks.OURS]
            yield (
                f"| {variant} | {n_workers} | "
                f"{duel['wins']:.0f} / {duel['losses']:.0f} / {duel['ties']:.0f} | "
                f"{duel['ratio']:.2f} |"
            )


def _choice_lines(rows: pd.DataFrame) -> Iterator[str]:
    table = ranks.blocks(rows[rows["problem"].isin(WITH_CHOICES)], methods=CHOICES)
    for (problem, n_workers), part in table.groupby(level=["problem", "n_workers"]):
        medians = " | ".join(f"{part[method].median():.2g}" for method in CHOICES)
        yield f"| {problem} | {n_workers} | {len(part)} | {medians} |"


def main() -> None:
    """Write the tables."""
    for path in ROWS:
        rows = pd.read_csv(path, keep_default_na=False)
        TABLES.joinpath(f"{path.stem}.md").write_text(as_markdown(rows, path.name))


if __name__ == "__main__":
    main()
