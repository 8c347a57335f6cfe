"""A run in virtual time.

Imports the rooms below it; only `simulate` imports it.
"""
