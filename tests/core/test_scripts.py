"""The table of scripts agrees with the Lua files, and these with the records."""

import re
from dataclasses import fields
from importlib import resources

import pytest

from rush_core.connection.script import Script
from rush_core.kernel.codec import array_header, encode
from rush_core.kernel.report import Report
from rush_core.kernel.task import Task
from rush_core.keys import NetworkKeys
from rush_core.scripts.table import TABLE

SOURCES = {
    path.name.removesuffix(".lua"): path.read_text()
    for path in resources.files("rush_core.scripts").iterdir()
    if path.name.endswith(".lua")
}
CALLED = {row.file for row in TABLE.values()}

# How the heads of the Lua files describe what the table names.
PREFIX_IN_HEADS = {
    "client": "client",
    "epoch": "epoch",
    "limit": "limit",
    "deadline": "deadline",
    "worker": "packed worker_id",
    "wakes": "wake prefix",
    "alives": "heartbeat prefix",
}
OWN_KEYS_IN_HEADS = {"wake": "the client's wake list", "alive": "the worker's heartbeat"}


def listed(file: str, heading: str) -> list[str]:
    """Return the items that the head of a script lists under a heading."""
    lines = [line for line in SOURCES[file].splitlines() if line.startswith("--")]
    head = re.sub(r"\n--  +", " ", "\n".join(lines))  # a line that continues another is indented
    found = re.search(rf"^-- {heading}: (.*)$", head, re.MULTILINE)
    assert found, f"{file}.lua does not say {heading}"
    return re.sub(r" \(.*?\)", "", found[1]).split(", ")


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_head_of_a_script_lists_the_keys_of_the_table(name: str) -> None:
    row = TABLE[name]
    heads = listed(row.file, "KEYS")
    expected = [OWN_KEYS_IN_HEADS.get(key, key) for key in row.keys]
    assert len(heads) == len(expected)
    for head, key in zip(heads, expected, strict=True):
        assert key in head.split(" or ")


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.prefix])
def test_the_head_of_a_script_lists_the_prefix_of_the_table_first(name: str) -> None:
    row = TABLE[name]
    heads = listed(row.file, "ARGV")[: len(row.prefix)]
    assert heads == [PREFIX_IN_HEADS[part] for part in row.prefix]


@pytest.mark.parametrize("file", sorted(CALLED))
def test_a_script_says_what_it_does_and_returns(file: str) -> None:
    assert SOURCES[file].startswith("-- ")
    assert listed(file, "Returns")
    if "redis.call('HGET', KEYS[1], ARGV[1])" in SOURCES[file]:
        assert listed(file, "Guard")


def test_each_lua_file_is_called_or_used_by_another() -> None:
    used = {
        name
        for source in SOURCES.values()
        for line in re.findall(r"-- Uses: (.*)", source)
        for name in line.replace(".lua", "").split(", ")
    }
    assert used | CALLED == set(SOURCES)


def test_all_keys_of_the_table_are_keys_of_a_network() -> None:
    known = {field.name for field in fields(NetworkKeys)} | set(OWN_KEYS_IN_HEADS)
    assert known.issuperset(key for row in TABLE.values() for key in row.keys)


@pytest.mark.parametrize("name", ["start_tasks", "finish_tasks", "wait_for_change"])
def test_a_script_without_its_prefix_cannot_be_made(name: str) -> None:
    with pytest.raises(KeyError, match="client"):
        Script(name, NetworkKeys("n"))


def test_the_bytes_that_scripts_know_are_those_of_the_records() -> None:
    text = SOURCES["record"] + SOURCES["float"]
    names = dict(re.findall(r"(\w+(?:, \w+)*) = ('\\\d+'(?:, '\\\d+')*)", text))
    known = {
        name: int(value.strip("'\\"))
        for names_, values in names.items()
        for name, value in zip(names_.split(", "), values.split(", "), strict=True)
    }
    n_ended = len(Task.__struct_fields__)
    assert known == {
        "QUEUED": array_header(n_ended - 5),
        "RUNNING": array_header(n_ended - 4),
        "ENDED": array_header(n_ended),
        "REPORT": array_header(len(Report.__struct_fields__)),
        "WORKER": array_header(6),
        "ENDED_WORKER": array_header(9),
        "NIL": encode(None)[0],
        "FLOAT": encode(0.5)[0],
    }
    begin = bytes((array_header(n_ended - 5), encode("")[0]))
    assert "QUEUED_BEGIN = '" + "".join(f"\\{byte}" for byte in begin) + "'" in text
    assert "local TEXT = 160 " in text
    assert encode("key")[0] == 160 + len("key")
    assert "local FLOAT_SIZE = 9 " in text
    assert len(encode(0.5)) == 9
