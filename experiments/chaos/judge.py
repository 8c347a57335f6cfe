"""Compare the replies to clients with the data in the server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rush_core import Network

VERDICTS = ("lost", "doubled", "refused_but_there", "stuck", "budget", "crashed", "impossible")


def judge(network: Network, folder: Path, limit: int) -> Counter[str]:
    """Count what contradicts the notes of the clients."""
    tasks = list(network.fetch_tasks())
    n_of = Counter(task.key for task in tasks)
    n_named = Counter(task.config["name"] for task in tasks)
    finished = Counter((t.key, t.result["name"]) for t in tasks if t.result is not None)
    failed = Counter((t.key, t.error) for t in tasks if t.error is not None)
    found: Counter[str] = Counter()
    # One that was lost for good gives its mark back.
    n_marked = Counter(t.config.get("mark") for t in tasks if "lost" not in t.result_extra)
    del n_marked[None]
    found["doubled"] += sum(n > 1 for n in (n_of | n_named | finished | n_marked).values())
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            what, *names = line.split()
            if what == "there":
                found["lost"] += sum(n_of[name] == 0 for name in names)
            elif what == "nowhere":
                found["refused_but_there"] += sum(n_named[name] > 0 for name in names)
            elif what == "discarded":
                pair = (names[0], names[1])
                found["refused_but_there"] += finished[pair] + failed[pair]
            else:
                ends = finished if what == "finished" else failed
                found["lost"] += ends[names[0], names[1]] == 0
            found["acknowledged"] += 1
    taken = sum(t.worker_id != "" and "lost" not in t.result_extra for t in tasks if t.ended_at)
    found["budget"] += abs(taken - limit)
    found["stuck"] += sum(task.state == "running" for task in tasks)
    found["finished"] += sum(finished.values())
    found["failed"] += sum(failed.values())
    found["lost_tasks"] += sum("lost" in task.result_extra for task in tasks if task.ended_at)
    return found
