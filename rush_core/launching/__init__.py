"""Workers: shipped loops, worker processes, calls of executors, and their end.

Imports `worker`, the `membership` and `connection` rooms and what is below them.
"""
