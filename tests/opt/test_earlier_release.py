"""A network that version 0.1.0 left in a server is continued as one of our own.

The file has its keys as version 0.1.0 wrote them in a run of 20 trials of 30: two workers, early
stopping, a condition. The host's name and the text of an error were replaced, and the shipped loop
left out.
"""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import redis

from rush_core import EmbeddedServer, Network
from rush_core.kernel.invariants import check_network
from rush_opt import Categorical, Float, Integer, Space, SuccessiveHalving, Trial, tune

FILE = Path(__file__).parent / "files" / "network_0_1_0.json"
SPACE = Space(
    {
        "x": Float(0, 1),
        "kind": Categorical(["a", "b"]),
        "n": Integer(1, 9, when={"kind": "a"}),
    }
)


def objective(config: dict[str, Any], trial: Trial) -> float:
    for step in (1, 2, 3):
        trial.report(config["x"] + 1 / step, step)
        if trial.should_stop():
            break
    return float(config["x"] + 0.1)


@pytest.fixture
def earlier(server: EmbeddedServer, network_id: str) -> str:
    """Write the keys of the earlier network under a name of this test."""
    client = redis.Redis.from_url(server.url)
    for name, content in json.loads(FILE.read_text()).items():
        redis_key, value = f"rush:{{{network_id}}}:{name}", content["value"]
        if content["type"] == "list":
            client.rpush(redis_key, *map(b64decode, value))
        elif content["type"] == "hash":
            pairs = [(b64decode(field), b64decode(each)) for field, each in value]
            client.hset(redis_key, mapping=dict(pairs))
        elif content["type"] == "set":
            client.sadd(redis_key, *map(b64decode, value))
        else:
            client.set(redis_key, b64decode(value))
    client.close()
    return network_id


def test_a_network_of_the_earlier_release_keeps_all_invariants(
    earlier: str, server: EmbeddedServer
) -> None:
    with Network(earlier, server.url) as network:
        check_network(earlier, server.url)
        assert network.count_tasks() == (0, 0, 19, 1)
        assert len(network.fetch_workers()) == 2


def test_a_run_of_the_earlier_release_goes_on(earlier: str, server: EmbeddedServer) -> None:
    result = tune(
        objective,
        SPACE,
        n_workers=2,
        n_trials=30,
        pruner=SuccessiveHalving(min_resource=1, reduction_factor=3),
        network_id=earlier,
        url=server.url,
        seed=1,
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    assert len(result.frozen_trials) == 30
    assert sorted(trial.state for trial in result.frozen_trials)[:2] == ["failed", "finished"]
    assert max(trial.notes.get("n_known", 0) for trial in result.frozen_trials) >= 5
    assert result.best_value < 0.3


def test_a_run_of_the_earlier_release_with_another_space_is_refused(
    earlier: str, server: EmbeddedServer
) -> None:
    wider = {**dict(zip(SPACE.names, SPACE.parameters, strict=True)), "x": Float(0, 2)}
    with pytest.raises(ValueError, match=r"parameter 'x' was Float\(0.0, 1.0\) and is Float"):
        tune(objective, wider, network_id=earlier, url=server.url, progress=False)
