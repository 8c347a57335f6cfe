"""Does anything get lost, doubled or stuck when everything fails at once?

Workers that were started in three ways start, claim, report on, finish and fail tasks with retries,
while managers push, clear, count and read. Local workers share the reader process of a node.
Meanwhile processes are killed and stopped, the server is killed and restarted on its append-only
file, connections are cut, requests arrive late, and memory and disk are used up. Each client writes
its operations to a history of its own, and the
judge of `tests.core.history` compares all histories with the final contents. Expected: nothing that
was acknowledged is lost, nothing is there twice, nothing that was refused is there, operations have
their order in time, the budget is used up exactly, and no process and no running task is left over.

A run is a sequence of rounds. Each round is a network with its own budget, and must end without
help after its faults. The seed determines the faults and their times.

Run from the project's root: ``python -m experiments.chaos --minutes 15 --seed 3``
"""
