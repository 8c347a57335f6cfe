"""The page on the architecture names what is there."""

import re
from pathlib import Path

from rush_core.keys import NetworkKeys, expected_type
from tests.test_architecture import FLOORS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table behind a heading."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    n_rows = next((i for i, line in enumerate(lines) if rows[0] == line), 0)
    found = []
    for line in lines[n_rows + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_the_table_of_keys_is_that_of_the_code() -> None:
    keys = NetworkKeys("net")
    prefix = "rush:{net}:"
    fields = [name for name in keys.__dataclass_fields__ if name != "network_id"]
    made = {name: getattr(keys, name) for name in fields}
    made |= {"wake:CLIENT": keys.wake("CLIENT"), "alive:WORKER": keys.alive("WORKER")}
    made["scale:HOST"] = keys.scale("HOST")
    rows = table("| key | type | holds |")
    assert {row[0].strip("`"): row[1] for row in rows} == {
        redis_key.decode().removeprefix(prefix): expected_type(redis_key)
        for redis_key in made.values()
    }


def test_the_tables_of_rooms_are_those_of_the_architecture_test() -> None:
    for package, floors in FLOORS.items():
        named = [re.findall(r"`(\w+)`", row[0]) for row in table(f"| `{package}`, from top")]
        listed = [room for rooms in named for room in rooms]
        expected = set().union(*floors) - {"__main__"}
        assert set(listed) == expected
        height = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
        heights = [max(height[room] for room in rooms) for rooms in named]
        assert heights == sorted(heights, reverse=True), f"{package}: not from top to bottom"
