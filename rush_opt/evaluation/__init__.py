"""How one trial is run: the objective, its limits, and the report of what came out.

Imports the rooms below it: `space`, `stopping`, `search`.
"""
