"""Entry point of worker processes: ``python -m rush_core worker NETWORK_ID --loop DIGEST``.

The server's URL comes from the environment, where process lists do not show its password.
"""

from __future__ import annotations

import argparse

from rush_core.process import run_worker
from rush_core.server import resolve_url


def main() -> None:
    """Parse the command line and run a worker."""
    parser = argparse.ArgumentParser(prog="python -m rush_core")
    commands = parser.add_subparsers(required=True)
    worker = commands.add_parser("worker", help="join a network and run its worker loop")
    worker.add_argument("network_id")
    worker.add_argument("--loop", required=True, help="digest of the shipped worker loop")
    worker.add_argument("--worker-id", help="name of the worker; by default a random one")
    worker.add_argument(
        "--orphan-check", action="store_true", help="end when standard input is closed"
    )
    arguments = parser.parse_args()
    run_worker(
        arguments.network_id,
        url=resolve_url(None),
        loop_digest=arguments.loop,
        worker_id=arguments.worker_id,
        orphan_check=arguments.orphan_check,
    )


if __name__ == "__main__":
    main()
