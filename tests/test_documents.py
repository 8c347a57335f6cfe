"""Python blocks of Markdown files run, each by itself, and links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = ["README.md", "rush_opt/README.md", "rush_core/README.md"]
FOLDERS = ["docs", "experiments", "results", "rush_core", "rush_opt"]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (*ROOT.glob("*.md"), *(p for name in FOLDERS for p in (ROOT / name).rglob("*.md")))
)


def python_blocks(text: str) -> list[str]:
    """Return each block with as many empty lines before it as there are lines in the file.

    A traceback then names the line of the page.
    """
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in blocks]


def first_line(block: str) -> int:
    return len(block) - len(block.lstrip("\n")) + 1


BLOCKS = [
    pytest.param(block, id=f"{name}:{first_line(block)}")
    for name in PAGES
    for block in python_blocks((ROOT / name).read_text())
]


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Return the targets of a page's links within the repository."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings: small letters, and hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


LINKED = [name for name in PAGES if links((ROOT / name).read_text())]


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_shows_python(name: str) -> None:
    assert len(python_blocks((ROOT / name).read_text())) >= 1


def output_of(block: str, folder: Path) -> str:
    """Run a block as a script in a folder, and return what it prints."""
    script = folder / "readme.py"
    script.write_text(block)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_a_guide_runs(block: str, tmp_path: Path) -> None:
    assert output_of(block, tmp_path).strip()


def test_the_first_example_prints_parameters_at_80_columns(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    printed = output_of(python_blocks(text)[0], tmp_path).splitlines()
    assert max(map(len, printed)) <= 80
    (names,) = [line.split() for line in printed if "extra_trees" in line]
    assert names in [line.split() for line in text.splitlines()], "the page shows another table"


@pytest.mark.parametrize("name", LINKED)
def test_a_link_of_a_page_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def named_paths(text: str) -> list[str]:
    """Return the files and folders of the repository that a page names in its prose."""
    return re.findall(r"`((?:rush_core|rush_opt|tests|experiments|docs)/[\w/.]+)`", prose(text))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/glossary.md"])
def test_the_files_that_a_page_names_exist(name: str) -> None:
    found = named_paths((ROOT / name).read_text())
    assert found
    assert [path for path in found if not (ROOT / path).exists()] == []


def test_the_pages_with_links_are_found() -> None:
    assert {*GUIDES, "CONTRIBUTING.md", "experiments/peers/README.md"} <= {*LINKED}


def test_links_and_headings_in_code_do_not_count() -> None:
    page = "# A\n[b](c.md)\n```sh\n# d\n[e](f.md)\n```\n"
    assert links(page) == ["c.md"]
    assert anchors(page) == {"a"}


def test_a_block_keeps_the_line_numbers_of_the_file() -> None:
    assert python_blocks("one\n```python\nthree\nfour\n```\n```sh\nls\n```\n") == [
        "\n\nthree\nfour\n"
    ]
