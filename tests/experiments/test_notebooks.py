"""The notebooks are stored with their outputs, run with the present code, and show what works."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from experiments.notebooks.execute import FOLDER, MAX_PICTURE_BYTES, ROOT, faults, outputs_of
from tests.ports import free_port

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

# What shows that a notebook did what its text says.
SHOWS = {
    "first_steps": [
        *("<TuneResult: ", "ValueError: x is too small", "20 new ones"),
        "at least as good as before: True",
    ],
    "own_worker_loop": ["with the rule: 480 epochs", "the rule allows more models: True"],
    "cluster_run": [
        *("[0, 0]", "<TuneResult: 40 trials finished", "2 workers"),
        *("first call:  <TuneResult: 5 trials", "second call: <TuneResult: 12 trials"),
    ],
}

# What the extras install, and the first notebook must not need.
EXTRAS = ["cmaes", "ConfigSpace", "distributed", "lightgbm", "matplotlib", "openml", "optuna"]


def missing_in(notebook: NotebookNode, name: str) -> list[str]:
    """Return the texts that a notebook should show and does not."""
    texts = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for output in outputs_of(notebook)
    ]
    return [text for text in SHOWS[name] if text not in "\n".join(texts)]


def test_every_notebook_is_run() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_outputs_and_without_errors(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert faults(notebook) == []
    assert missing_in(notebook, path.stem) == []


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        (new_output("error", ename="ValueError", evalue="no"), "ended with ValueError: no"),
        (new_output("stream", name="stderr", text="careful"), "standard error: 'careful'"),
        (new_output("stream", text='File "/home/me/run.py"'), "absolute path /home/me"),
        (
            new_output("display_data", {"image/png": "A" * 2 * MAX_PICTURE_BYTES}),
            f"a picture has 90000 bytes, at most {MAX_PICTURE_BYTES} are allowed",
        ),
    ],
)
def test_an_output_that_must_not_be_stored_is_a_fault(output: NotebookNode, fault: str) -> None:
    cell = new_code_cell("print()", execution_count=1, outputs=[output])
    (found,) = faults(new_notebook(cells=[cell]))
    assert fault in found


def test_a_notebook_that_was_not_executed_has_faults() -> None:
    assert faults(new_notebook(cells=[new_code_cell("print()")])) == [
        "the cells were not executed once each, from top to bottom",
        "there is no output",
    ]


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    if path.stem == "first_steps":
        for name in EXTRAS:
            (modules / f"{name}.py").write_text("raise ImportError('this extra is not installed')")
    done = subprocess.run(  # an interpreter of its own: warnings of Jupyter are no errors there
        [sys.executable, "-m", "experiments.notebooks.execute", path.stem, "--into", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(modules)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert missing_in(nbformat.read(tmp_path / path.name, 4), path.stem) == []


# Stand-ins for what a node of a cluster has.
RUSH = f'#!/bin/sh\nexec "{sys.executable}" -m rush_core "$@"\n'
PYTHON = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
HOSTNAME = "#!/bin/sh\necho LOCALHOST\n"  # `rush doctor` does not know it as this machine
SRUN = """#!/bin/sh
n=${1#--ntasks=}
shift
for task in $(seq "$n"); do "$@" & done
wait
"""

TUNING = """
import subprocess

from rush_opt import Float, tune

{launch}
print(tune(
    lambda config: config["x"], {{"x": Float(0, 1)}}, n_workers=2, n_trials=8, launch=launch,
    progress=False,
))
"""


def code_block(language: str, start: str) -> str:
    """Return the code block of the cluster notebook's text that has `start` in it."""
    notebook = nbformat.read(FOLDER / "cluster_run.ipynb", 4)
    opening = f"```{language}\n"
    blocks = [
        part.split("```")[0]
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for part in cell.source.split(opening)[1:]
    ]
    (block,) = (str(block) for block in blocks if start in block)
    return block


@pytest.mark.long
def test_the_batch_script_of_the_cluster_notebook_runs_the_users_program(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"rush": RUSH, "python": PYTHON, "hostname": HOSTNAME, "srun": SRUN}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "my_tuning.py").write_text(TUNING.format(launch=code_block("python", "def launch")))
    script = code_block("sh", "#!/bin/bash").replace("6379", str(free_port()))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
        | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "<TuneResult: 8 trials finished" in done.stdout
    assert "advice" in done.stdout  # over plain TCP, which does not end the job
