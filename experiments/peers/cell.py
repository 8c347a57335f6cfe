"""Run one tool of `speed` once: ``python -m experiments.peers.cell TOOL N CAP SEED``.

Packages import the main module again in the processes that they start, so it has a module of its
own, which imports nothing that only `speed` needs.
"""

from __future__ import annotations

import sys
import warnings

from experiments.peers.tools import TOOLS, Task


def main() -> None:
    """Run what the command line names."""
    tool, n_trials, cap_s, seed = sys.argv[1:]
    warnings.simplefilter("ignore")
    TOOLS[tool].run(Task(int(n_trials), float(cap_s), int(seed)))


if __name__ == "__main__":
    main()
