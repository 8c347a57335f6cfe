"""Which workers there are: the registry, their heartbeats and their log records.

Imports the `kernel` room and what is below it.
"""
