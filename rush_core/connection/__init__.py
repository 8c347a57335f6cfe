"""The connection to the server: its URL, its clock, and calls of scripts.

Imports `keys`, `errors` and the table of `scripts` only.
"""
