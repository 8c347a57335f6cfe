"""Does any input make a decoder fail in an undocumented way, hang, or take much memory?

Asked: of each decoder of bytes from outside (`tests/fuzzing`), does coverage-guided fuzzing find
bytes after which it raises another error than the documented one, takes a second of CPU time, or
takes 64 MiB of memory. Expected before measuring: nothing is left to be found.

The fuzzer is libFuzzer, through atheris, which follows the branches of Python code: install
`atheris` beside the project. Two targets run at a time. Run from the project's root:
``python -m experiments.fuzz_decoders``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import resource
import sys
import tempfile
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.provenance import RAW, TABLES, append_rows, provenance

if TYPE_CHECKING:
    from tests.fuzzing.target import Target

ROWS = RAW / "fuzz_decoders.csv"

N_AT_A_TIME = 2
SLOW_S = 1.0
LARGE_KIB = 64 * 1024

# An input that takes longer ends the fuzzer, which is a finding, too.
HANGS_S = 120
LONGEST_INPUT = 8192

INSTRUMENTED = ["rush_core", "rush_opt", "numpy.lib._format_impl", "numpy._core._internal"]

Finding = dict[str, str]


def main() -> None:
    import atheris

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of all targets together")
    given = parser.parse_args()
    origin = {"atheris": version("atheris"), **provenance()}
    with atheris.instrument_imports(include=INSTRUMENTED):  # once: it takes long
        from tests.fuzzing.targets import TARGETS
    seconds = round(60.0 * given.minutes / len(TARGETS))
    waiting, rows = list(TARGETS.values()), []
    running: dict[int, FuzzingProcess] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < N_AT_A_TIME:
                process = FuzzingProcess(waiting.pop(0), seconds, Path(folder))
                running[process.pid] = process
            pid, status = os.wait()
            rows.append(running.pop(pid).row(os.waitstatus_to_exitcode(status)))
            print(rows[-1], flush=True)
    append_rows(ROWS, [row | origin for row in rows])
    table = as_markdown([row | origin for row in rows])
    print(table)
    (TABLES / "fuzz_decoders.md").write_text(table)
    raise SystemExit(any(row["findings"] for row in rows))


class FuzzingProcess:
    """A process that fuzzes one target.

    Parameters
    ----------
    target : Target
    seconds : int
        For how long.
    folder : Path
        Where it gets a folder of its own.
    """

    def __init__(self, target: Target, seconds: int, folder: Path) -> None:
        self._target = target
        self._seconds = seconds
        self._folder = folder / target.name
        self._folder.mkdir()
        self._began = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            os.dup2(os.open(self._log, os.O_WRONLY | os.O_CREAT), 2)
            fuzz(target, seconds, self._folder)
            os._exit(0)

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def row(self, exit_code: int) -> dict[str, Any]:
        """Return the row of the target when the process has ended."""
        log = self._log.read_text(errors="replace")
        findings = read_findings(self._folder)
        if exit_code:  # an input that hangs, or a crash of the interpreter
            findings.append({"what": f"the fuzzer ended with {exit_code}", "text": log[-3000:]})
        for finding in findings:
            print(f"{self._target.name}: {finding}", file=sys.stderr, flush=True)
        return {
            "target": self._target.name,
            "seconds": round(time.monotonic() - self._began, 1),
            **read_statistics(log),
            "findings": len(findings),
        }


def read_statistics(log: str) -> dict[str, int]:
    """Return what the fuzzer has reported last: executions, branches, and inputs that it kept."""
    *_, line = re.findall(r"^#(\d+)\s.*cov: (\d+) .*corp: (\d+)", log, re.MULTILINE) or [(0, 0, 0)]
    total = re.findall(r"number_of_executed_units: *(\d+)", log)
    executions = int(total[-1]) if total else int(line[0])
    return {"executions": executions, "branches": int(line[1]), "corpus": int(line[2])}


def read_findings(folder: Path) -> list[Finding]:
    """Return the findings that a process has written."""
    path = folder / "findings"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fuzz(target: Target, seconds: int, folder: Path) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    for example in target.examples:  # what is imported late is not the memory of an input
        target.run(example)
    corpus, words = folder / "corpus", folder / "words"
    corpus.mkdir()
    for i, example in enumerate(target.examples):
        (corpus / str(i)).write_bytes(example)
    words.write_text("".join(f'"{as_word(word)}"\n' for word in target.words))
    watch = Watch(target.run, folder / "findings")
    options = [
        *(f"-max_total_time={seconds}", f"-timeout={HANGS_S}", "-rss_limit_mb=2048"),
        *(f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={folder}/"),
        *([f"-dict={words}"] if target.words else []),
        *("-print_final_stats=1", "-seed=1"),
    ]
    atheris.Setup([target.name, *options, str(corpus)], watch)
    atheris.Fuzz()


def as_word(word: bytes) -> str:
    """Return a word for the fuzzer's dictionary."""
    return "".join(f"\\x{byte:02x}" for byte in word)


class Watch:
    """Runs a target, and writes each kind of finding once.

    Parameters
    ----------
    run : callable
        ``run(content)`` raises for a finding.
    path : Path
        The file of the findings, which is appended to.
    """

    def __init__(self, run: Any, path: Path) -> None:
        self._run = run
        self._path = path
        self._seen: set[str] = set()
        self._largest_kib = _largest_kib()

    def __call__(self, content: bytes) -> None:
        """Run the target once."""
        began = time.process_time()
        try:
            self._run(content)
        except BaseException as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            self._note(f"{type(error).__name__} at {place}", f"{error!s:.200}", content)
        if time.process_time() - began > SLOW_S:
            self._note("slow", f"{time.process_time() - began:.1f} s", content)
        largest_kib = _largest_kib()
        if largest_kib - self._largest_kib > LARGE_KIB:
            self._note("memory", f"{largest_kib - self._largest_kib} KiB", content)
        self._largest_kib = largest_kib

    def _note(self, kind: str, text: str, content: bytes) -> None:
        if kind not in self._seen:
            self._seen.add(kind)
            shown = base64.b64encode(content).decode()
            with self._path.open("a") as file:
                file.write(json.dumps({"what": kind, "text": text, "input": shown}) + "\n")


def _largest_kib() -> int:
    """Return the most memory that this process has had, KiB."""
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found // 1024 if sys.platform == "darwin" else found


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Make the table of a run."""
    first = rows[0]
    total = sum(row["executions"] for row in rows)
    lines = [
        "# Fuzzing of the decoders",
        "",
        f"{total:,} inputs in all. Commit {first['commit']}, {first['machine']}, which others used "
        f"at the same time, Python {first['python']}, atheris {first['atheris']}. A finding is an "
        "input after which a decoder raises another error than the documented one, takes a second "
        "of CPU time or 64 MiB of memory, or does not return. Branches are those of Python code "
        "that were reached, corpus the inputs that reached new ones. Made by "
        "`python -m experiments.fuzz_decoders` from `results/raw/fuzz_decoders.csv`.",
        "",
        "| target | seconds | inputs | branches | corpus | findings |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['target']} | {row['seconds']:.0f} | {row['executions']:,} | {row['branches']:,} | "
        f"{row['corpus']:,} | {row['findings']} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
