"""When a trial or a whole run stops: rules, learning curves, and which trial is best.

Imports nothing of the other rooms.
"""
