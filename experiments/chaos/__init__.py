"""Does anything get lost, doubled or stuck when everything fails at once?

Asked: workers of all three launch kinds start, claim, finish and fail tasks with retries while a
manager pushes, and meanwhile processes are killed and stopped, the server is killed and restarted
on its append-only file, connections are cut, and memory runs out. Every operation that the server
acknowledged is noted by its client in a file of its own. Expected: an acknowledged end is in its
log exactly once, an acknowledged start or push is somewhere, a refused one is nowhere, the budget
is used up exactly, and no process and no running task is left over.

A run is a row of rounds. Each is a network with a budget of its own; when its faults are over, it
has to end by itself. Which faults come, and when, follows from the seed.

Run from the project's root: ``python -m experiments.chaos --minutes 15 --seed 3``
"""
