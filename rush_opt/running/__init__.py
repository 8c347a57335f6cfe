"""A run on real workers, as its manager follows it.

Imports the rooms below it; only the doors `tune` and `ask_tell` import it.
"""
