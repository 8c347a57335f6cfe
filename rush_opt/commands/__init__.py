"""The commands of ``rush`` that know about searches: they show, read and steer runs.

Imports `results`. `rush_opt.cli` adds them to the commands of `rush_core`.
"""
