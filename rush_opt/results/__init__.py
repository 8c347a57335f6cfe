"""What a run found: trials, the result, its pictures and its files.

Imports `space`, `stopping` and `models`.
"""
