"""Surrogate models: a Gaussian process, extremely randomized trees, and the switch between them.

`surrogate` has the interface. The room imports only the types of arrays.
"""
