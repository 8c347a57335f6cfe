"""The kernel: records of tasks, the transitions between their states, and how they are read.

Imports the `connection` room, `keys`, `errors` and `arguments` only.
"""
