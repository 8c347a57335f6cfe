"""The commands of ``rush``: about networks, workers and servers.

Imports `network` and what is below it. `rush_core.cli` puts the commands together.
"""
