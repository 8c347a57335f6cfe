"""Print the lowest version of each dependency that pyproject.toml allows, one ``name==version``.

Extras are included, except ``test``: its tools may be the newest ones. Lines whose marker does not
hold on this machine are left out. Use it as a constraints file of pip::

    python .ci/lowest.py > lowest.txt
    pip install --editable '.[test]' --constraint lowest.txt
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

_BOUNDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<version>[0-9.]+)(?P<marker>\s*;.*)?")


def lowest_versions(pyproject: str) -> Iterator[str]:
    """Yield the pins, sorted by name, each with its environment marker.

    Raises
    ------
    ValueError
        If a dependency has no lower bound of the form ``name>=version``.
    """
    project = tomllib.loads(pyproject)["project"]
    extras = project["optional-dependencies"]
    needed = {*project["dependencies"]}.union(*(extras[name] for name in extras if name != "test"))
    for requirement in sorted(needed, key=str.lower):
        bounded = _BOUNDED.fullmatch(requirement)
        if bounded is None:
            raise ValueError(
                f"each dependency needs one lower bound, name>=version, got {requirement!r}"
            )
        yield f"{bounded['name']}=={bounded['version']}{bounded['marker'] or ''}"


if __name__ == "__main__":
    print("\n".join(lowest_versions(PYPROJECT.read_text())))
