"""The workers of a network as others see them: the registry, heartbeats and log records.

Imports the `kernel` room and what is below it, and `owned_process`.
"""
