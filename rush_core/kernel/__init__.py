"""The kernel: records of tasks and workers, the transitions between states, and the worker.

Read in this order: `task`, `table`, the heads of ``scripts/*.lua``, `transitions`, `commands`,
`lost_replies`, `logs`, `reader`, `workers`, `participation`, `worker`. `invariants` lists the rules
that hold at every moment. Imports `connection`, `keys`, `errors` and `arguments` only.
"""
