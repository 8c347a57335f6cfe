"""How do ADBO, ACBO, CLBO and random search compare when LightGBM is tuned with many workers?

The benchmark of Becker & Bischl (2026), arXiv 2606.21430, with the CPU time of every worker. See
`experiments/lightgbm_study/README.md` for the question, the commands and the tables.

Run from anywhere: ``python experiments/lightgbm_bench.py download|design|run|report|simulate``
"""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parent.parent)
if __name__ == "__main__" and __spec__ is None:  # as a file: only its own folder can be imported
    sys.path[0] = ROOT

from experiments.lightgbm_study.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
