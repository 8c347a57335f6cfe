"""Rules that stop a run or a trial early, the data that they read, and the order of trials.

Imports `space`, `problem` and the plain records of `rush_core`.
"""
