"""One connection to the server: its URL, its clock, and the scripts that run there.

Imports `keys` and `errors` only.
"""
