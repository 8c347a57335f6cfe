"""The sentences of the documentation that promise something have tests and results."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMISES = ROOT / "docs" / "promises.md"
PAGES = [
    "README.md",
    "SECURITY.md",
    "rush_core/README.md",
    "rush_opt/README.md",
    "docs/commands.md",
]


def plain(text: str) -> str:
    """Return a text without links, bold letters and line breaks, as sentences are compared."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text).replace(r"\|", "|").replace("**", "")
    return " ".join(text.split())


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading, without its two head lines."""
    section = PROMISES.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


SENTENCES = [(page, *row) for page in PAGES for row in rows(page)]
NUMBERS = rows("Numbers")


@cache
def page_text(page: str) -> str:
    return plain((ROOT / page).read_text())


@cache
def names_of_tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def missing_sentences() -> list[str]:
    by_page = [(sentence, (page,)) for page, sentence, _ in SENTENCES]
    anywhere = [(row[0], PAGES) for row in (*NUMBERS, *rows("Promises without a test"))]
    return [
        sentence
        for sentence, pages in (*by_page, *anywhere)
        if not any(plain(sentence) in page_text(page) for page in pages)
    ]


def test_each_promise_is_a_sentence_of_its_page() -> None:
    assert len(SENTENCES) > 100
    assert missing_sentences() == []


def test_each_promise_names_tests_that_exist() -> None:
    missing = []
    for _, sentence, tests in SENTENCES:
        named = re.findall(r"`([\w/.]+\.py)::(test_\w+)`", tests)
        assert named, f"no test is named beside {sentence!r}"
        assert tests.count("`") == 2 * len(named), f"not only tests are named: {tests}"
        missing += [f"{path}::{test}" for path, test in named if test not in names_of_tests(path)]
    assert missing == []


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text without commas, such as 12364 and 0.50."""
    return re.findall(r"(?<![\w.])\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))


def is_among(number: str, found: list[str]) -> bool:
    """Tell whether one of the numbers that were found becomes `number` when it is rounded."""
    n_decimals = len(number.partition(".")[2])
    half = 0.5 * 10**-n_decimals * (1 + 1e-9)
    return any(abs(float(other) - float(number)) <= half for other in found)


@pytest.mark.parametrize("row", NUMBERS, ids=[row[0][:30] for row in NUMBERS])
def test_a_number_of_a_sentence_is_in_the_results(row: list[str]) -> None:
    sentence, results, numbers = row
    path = ROOT / results.strip("`")
    text = path.read_text()
    found = numbers_in(text.replace(",", " ") if path.suffix == ".csv" else text)
    for number in re.split(r", (?=\d)", numbers):
        parts = numbers_in(number)
        assert parts, number
        assert [part for part in parts if not is_among(part, found)] == []
        if "+" in number:
            assert str(sum(map(int, parts))) in numbers_in(sentence)


def test_each_table_of_results_names_its_script() -> None:
    for table in (ROOT / "results" / "tables").glob("*.md"):
        scripts = re.findall(r"ade by\s+`(?:python -m )?([\w./]+)[^`]*`", table.read_text())
        assert scripts, f"{table.name} names no script"
        for script in scripts:
            path = ROOT / (script if script.endswith(".py") else script.replace(".", "/"))
            assert path.is_file() or path.with_suffix(".py").is_file() or path.is_dir(), script


def test_numbers_are_found_and_rounded() -> None:
    found = numbers_in("| 12,364 | 0.52 | 66.65 x2 v1.5")
    assert found == ["12364", "0.52", "66.65"]
    assert is_among("0.5", found)
    assert is_among("67", found)
    assert not is_among("66.5", found)
    assert not is_among("0.53", found)
