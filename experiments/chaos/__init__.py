"""Does anything get lost, doubled or stuck when everything fails at once?

Workers of all three launch kinds start, claim, finish and fail tasks with retries, while a manager
pushes tasks. Meanwhile processes are killed and stopped, the server is killed and restarted on its
append-only file, connections are cut, and memory runs out. Each client writes every acknowledged
operation into its own file. Expected: an acknowledged end is in its log exactly once; a task of an
acknowledged start or push is in the server; a task of a refused one is not; the budget is used up
exactly; and no process and no running task is left.

A run is a sequence of rounds. Each round is a network with its own budget, and must end without
help after its faults. The seed determines the faults and their times.

Run from the project's root: ``python -m experiments.chaos --minutes 15 --seed 3``
"""
