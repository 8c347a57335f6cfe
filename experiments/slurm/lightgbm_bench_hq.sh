#!/bin/bash
# The LightGBM benchmark through HyperQueue, where jobs of many short tasks are not welcome or the
# nodes come one by one: workers join whenever HyperQueue has a core, and the run begins with the
# first of them. A run counts only if all of them joined in the end.
#
#   hq server start &
#   hq alloc add slurm --time-limit 12h -- --nodes=1 --exclusive
#   experiments/slurm/lightgbm_bench_hq.sh
#
# Run it where it can stay (a login node's tmux, a job of its own): it is the manager, and runs the
# server. For another server, set RUSH_REDIS_URL and RUSH_REDIS_PASSWORD beforehand.
set -euo pipefail

WORKERS=${WORKERS:-448}
SECONDS_PER_RUN=${SECONDS_PER_RUN:-600}
REPLICATIONS=${REPLICATIONS:-5}
DATASETS=${DATASETS:-"credit-g KDDCup09_appetency adult airlines"}
STRATEGIES=${STRATEGIES:-"adbo acbo clbo random"}
DESIGN_SIZE=${DESIGN_SIZE:-100}
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-results/raw/lightgbm-cluster}
PORT=${PORT:-6379}
HOST=${HOST:-$(hostname)}

# The password of the server, and the secret by which workers know that their loop is ours.
export RUSH_REDIS_PASSWORD=${RUSH_REDIS_PASSWORD:-$(head -c 24 /dev/urandom | base64 | tr -d '/+=')}
export RUSH_SECRET=${RUSH_SECRET:-$(head -c 24 /dev/urandom | base64)}

# HyperQueue's tasks do not inherit this environment, and its command lines can be read by others:
# both go through a file that only its owner can read, and each task reads it.
SECRETS=$(umask 077; mktemp "$PWD/.rush-secrets-XXXXXX")
printf 'export RUSH_REDIS_PASSWORD=%q RUSH_SECRET=%q\n' "$RUSH_REDIS_PASSWORD" "$RUSH_SECRET" > "$SECRETS"

SERVER= DATA=
end() {
  rm -f "$SECRETS"
  [ -z "$SERVER" ] || { kill "$SERVER" 2>/dev/null || true; wait "$SERVER" || true; rm -rf "$DATA"; }
}
trap end EXIT

if [ -z "${RUSH_REDIS_URL:-}" ]; then
  DATA=$(mktemp -d "${TMPDIR:-/tmp}/rush-server-XXXXXX")
  # It prints its URL when it answers.
  coproc SERVE { exec "$PYTHON" -m rush_core serve "$DATA" --host "$HOST" --port "$PORT"; }
  SERVER=$SERVE_PID
  read -r RUSH_REDIS_URL <&"${SERVE[0]}"
  export RUSH_REDIS_URL
fi

# An array of equal tasks, one core each. --max-fails keeps the others when one is lost, and
# --crash-limit 1 keeps HyperQueue from starting a lost one again: rush counts it as lost itself.
LINE="hq submit --array 1-{n} --cpus 1 --max-fails {n} --crash-limit 1 --stdout none --stderr none -- sh -c '. $SECRETS; exec sh -c \"\$0\"' {command}"

common="--dataset $DATASETS --workers $WORKERS --replications $REPLICATIONS --design-size $DESIGN_SIZE"
common="$common --out $OUT --launcher command"
common="$common ${DATA_DIR:+--data-dir $DATA_DIR}"  # a local folder instead of OpenML tasks
# shellcheck disable=SC2086  # the data sets are words
"$PYTHON" experiments/lightgbm_bench.py design $common --launch-command "$LINE"
"$PYTHON" experiments/lightgbm_bench.py run $common --launch-command "$LINE" \
  --strategy $STRATEGIES --seconds "$SECONDS_PER_RUN"
"$PYTHON" experiments/lightgbm_bench.py report --out "$OUT"
