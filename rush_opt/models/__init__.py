"""Surrogate models: forests, a Gaussian process, and what they share.

Imports nothing of the other rooms.
"""
