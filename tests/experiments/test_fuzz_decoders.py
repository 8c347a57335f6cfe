"""The fuzzing of decoders: what counts as a finding, and how a run becomes rows and a table."""

import time
from pathlib import Path

from experiments import fuzz_decoders
from experiments.fuzz_decoders import Watch, as_markdown, read_findings, read_statistics

LOG = """
#2\tINITED cov: 3 ft: 3 corp: 1/1b exec/s: 0 rss: 150Mb
#1024\tNEW    cov: 40 ft: 52 corp: 9/63b lim: 17 exec/s: 500 rss: 151Mb L: 9/13 MS: 1 EraseBytes-
#2048\tREDUCE cov: 40 ft: 52 corp: 9/61b lim: 17 exec/s: 500 rss: 151Mb L: 7/13 MS: 1 EraseBytes-
stat::number_of_executed_units: 2100
"""


def test_statistics_are_those_that_were_reported_last() -> None:
    assert read_statistics(LOG) == {"executions": 2100, "branches": 40, "corpus": 9}
    without_end = LOG.rpartition("stat::")[0]
    assert read_statistics(without_end) == {"executions": 2048, "branches": 40, "corpus": 9}
    assert read_statistics("no fuzzer") == {"executions": 0, "branches": 0, "corpus": 0}


def test_each_kind_of_finding_is_written_once(tmp_path: Path) -> None:
    kept = []

    def run(content: bytes) -> None:
        if content.startswith(b"memory"):
            kept.append(bytearray(b"x") * (fuzz_decoders.LARGE_KIB * 1024 * 2))
        elif content.startswith(b"slow"):
            end = time.process_time() + 1.1 * fuzz_decoders.SLOW_S
            while time.process_time() < end:
                pass
        elif content:
            raise KeyError("of the decoder")

    watch = Watch(run, tmp_path / "findings")
    for content in (b"", b"a", b"b", b"memory", b"slow"):
        watch(content)
    found = read_findings(tmp_path)
    first, *others = (finding["what"] for finding in found)
    assert first.startswith("KeyError at test_fuzz_decoders.py:")
    assert others == ["memory", "slow"]
    assert found[0]["input"] == "YQ=="


def test_a_run_becomes_a_table() -> None:
    origin = {"commit": "abc", "machine": "a machine", "python": "3.11", "atheris": "3"}
    row = {"target": "URL", "seconds": 60.0, **read_statistics(LOG), "findings": 0, **origin}
    table = as_markdown([row, row | {"target": "array", "findings": 2}])
    assert "4,200 inputs in all" in table
    assert "| URL | 60 | 2,100 | 40 | 9 | 0 |" in table
    assert "| array | 60 | 2,100 | 40 | 9 | 2 |" in table
