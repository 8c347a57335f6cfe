"""Servers: the embedded one, finding one, and examining one.

Imports the `connection` room and what is below it.
"""
