"""The cluster's scripts, with stand-ins for srun and hq that start processes of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from experiments.lightgbm_study import folder
from experiments.lightgbm_study.design import Design, read_design
from experiments.lightgbm_study.runs import read_run, run_files
from tests.ports import free_port
from tests.waiting import wait_until

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

# All begin by noting what everybody sees in a list of processes.
PYTHON = """#!/bin/sh
echo "python $*" >> "$JOB/command-lines"
exec "$JOB_PYTHON" "$@"
"""

SRUN = """#!/bin/sh
echo "srun $*" >> "$JOB/command-lines"
printf '%s\\n' "$RUSH_REDIS_PASSWORD" "$RUSH_SECRET" > "$JOB/secrets"
while [ "$1" != sh ]; do
  case "$1" in --ntasks=*) n=${1#*=} ;; esac
  shift
done
for task in $(seq "$n"); do "$@" & done
wait
"""

# Returns when the tasks are accepted; they get nothing of the environment it is called in.
HQ = """#!/bin/sh
echo "hq $*" >> "$JOB/command-lines"
printf '%s\\n' "$RUSH_REDIS_PASSWORD" "$RUSH_SECRET" > "$JOB/secrets"
while [ "$1" != -- ]; do
  case "$1" in --array) n=${2#1-} ;; esac
  shift
done
shift
for task in $(seq "$n"); do
  env -i PATH="$PATH" JOB="$JOB" XDG_CACHE_HOME="$XDG_CACHE_HOME" "$@" >/dev/null 2>&1 &
done
"""


def processes_of(job: Path) -> list[psutil.Process]:
    """Return those that have a job's mark in their environment, which all of its have."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("JOB") == str(job):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "launcher", "asked_for"),
    [
        ("lightgbm_bench.sbatch", "slurm", "srun --ntasks=2 "),
        ("lightgbm_bench_hq.sh", "command", "hq submit --array 1-2 "),
    ],
)
def test_a_clusters_script_runs_the_benchmark_and_leaves_nothing_behind(
    script: str, launcher: str, asked_for: str, data_dir: Path, tmp_path: Path
) -> None:
    programs, job, out = (tmp_path / name for name in ("bin", "job", "out"))
    programs.mkdir()
    job.mkdir()
    (job / "experiments").symlink_to(EXPERIMENTS)
    for name, text in {"python": PYTHON, "srun": SRUN, "hq": HQ}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(EXPERIMENTS / "slurm" / script)],
        cwd=job,
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TMPDIR": str(job),
            "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
            "JOB": str(job),
            "JOB_PYTHON": sys.executable,
            "SLURM_JOB_ID": "7",
            "PYTHON": str(programs / "python"),
            "HOST": "LOCALHOST",  # which the doctor takes for one of the network, as on a cluster
            "PORT": str(free_port()),
            "OUT": str(out),
            "DATA_DIR": str(data_dir),
            "DATASETS": "toy",
            "STRATEGIES": "adbo",
            "WORKERS": "2",
            "REPLICATIONS": "1",
            "DESIGN_SIZE": "9",
            "SECONDS_PER_RUN": "20",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    design = Design(folder.find(data_dir, "toy"), 1, 9, 1)
    assert [config for config, _ in read_design(design, out)] == design.points()
    (path,) = run_files(out)
    run = read_run(path)
    assert (run.configuration.launcher, run.configuration.workers) == (launcher, 2)
    assert run.summary["n_workers_joined"] == 2
    assert run.summary["n_lost"] == 0
    assert (run.trials["state"] == "finished").all()
    assert list((out / "tables").iterdir())

    command_lines = (job / "command-lines").read_text()
    assert command_lines.count(asked_for) == 2  # for the design and for the run
    secrets = (job / "secrets").read_text().split()
    assert len(secrets) == 2
    assert not [secret for secret in secrets if secret in command_lines + done.stdout + done.stderr]
    wait_until(lambda: not processes_of(job))  # who was submitted may outlive the script a little
    assert sorted(path.name for path in job.iterdir()) == [
        *("command-lines", "experiments", "secrets")
    ]
