"""What the README shows runs as it stands there, each block by itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def python_blocks(text: str) -> list[str]:
    """Return each block with as many empty lines before it as there are lines in the file.

    A traceback then names the line of the README.
    """
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in blocks]


def first_line(block: str) -> str:
    return f"line {len(block) - len(block.lstrip(chr(10))) + 1}"


BLOCKS = python_blocks(README.read_text())


def test_the_readme_shows_python() -> None:
    assert len(BLOCKS) >= 1


@pytest.mark.parametrize("block", BLOCKS, ids=first_line)
def test_a_block_of_the_readme_runs(block: str, tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(block)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(README.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout.strip()


def test_a_block_keeps_the_line_numbers_of_the_file() -> None:
    assert python_blocks("one\n```python\nthree\nfour\n```\n```sh\nls\n```\n") == [
        "\n\nthree\nfour\n"
    ]
