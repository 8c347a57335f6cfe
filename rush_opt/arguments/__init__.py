"""The arguments of `tune()`, `simulate()` and `Advisor`: made usable, or refused.

Imports the rooms below it; the doors import it.
"""
