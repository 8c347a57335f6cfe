"""When a run or a single trial stops: rules, what they see, and how trials are ranked.

Imports `space`, `problem` and the plain records of `rush_core`.
"""
