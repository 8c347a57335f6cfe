"""What do the notebooks show with the present code? Execute them, and store them with outputs.

Run from the project's root: ``python -m experiments.notebooks.execute``. It executes the notebooks
of this folder in place. ``--into FOLDER`` stores them in another folder, and names of notebooks
select some of them.
"""

from __future__ import annotations

import argparse
import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

__all__ = ["FOLDER", "MAX_PICTURE_BYTES", "ROOT", "execute", "faults", "outputs_of"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

MAX_PICTURE_BYTES = 60_000  # every version of a picture stays in the repository

# A path from the root of the file system. Not a closing tag, and not a part of a URL or of a
# relative path.
_ABSOLUTE_PATH = re.compile(r"(?<![\w<./:])/\w[\w.-]*/[\w.-]+")


def execute(notebook: NotebookNode) -> None:
    """Execute all cells in the project's root, and replace their outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises an exception.
    """
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,  # time stamps that differ in each execution
        resources={"metadata": {"path": str(ROOT)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version


def outputs_of(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """Yield the outputs of all cells, from top to bottom."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield from cell.outputs


def faults(notebook: NotebookNode) -> list[str]:
    """Return what must be mended before a notebook is stored, a sentence each."""
    found = []
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        found.append("the cells were not executed once each, from top to bottom")
    if any("execution" in cell.metadata for cell in cells):
        found.append("a cell has the times of its execution in its metadata")
    outputs = list(outputs_of(notebook))
    if not outputs:
        found.append("there is no output")
    for output in outputs:
        found += _faults_of(output)
    return found


def _faults_of(output: NotebookNode) -> Iterator[str]:
    """Yield what must not be in one output."""
    if output.output_type == "error":
        yield f"a cell ended with {output.ename}: {output.evalue}"
    elif output.get("name") == "stderr":
        yield f"a cell printed to standard error: {output.text!r}"
    data = output.get("data", {})
    for text in (output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")):
        path = _ABSOLUTE_PATH.search(text)
        if path is not None:
            yield f"an output has the absolute path {path.group()}"
        if re.search(rf"\b{re.escape(socket.gethostname())}\b", text):
            yield "an output has the name of this host"
    size = len(base64.b64decode(data.get("image/png", "")))
    if size > MAX_PICTURE_BYTES:
        yield f"a picture has {size} bytes, at most {MAX_PICTURE_BYTES} are allowed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="without .ipynb; by default all notebooks")
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER")
    given = parser.parse_args()
    for name in given.names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
        execute(notebook)
        found = faults(notebook)
        if found:
            raise SystemExit(f"{name} was not stored:\n" + "\n".join(found))
        nbformat.write(notebook, given.into / f"{name}.ipynb")
        print(name)


if __name__ == "__main__":
    main()
