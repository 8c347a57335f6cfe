"""The problem: the search space and the goals. Optimizer and budget do not belong to it.

Imports `space` only.
"""
