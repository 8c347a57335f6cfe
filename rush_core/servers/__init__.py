"""Servers: the program, an embedded one, one that stays, where to find one, and a check of one.

Imports the `connection` room and what is below it, and `owned_process`.
"""
