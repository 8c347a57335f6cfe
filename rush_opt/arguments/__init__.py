"""The arguments of `tune()`, `simulate()` and `Advisor`: checked and converted, or refused.

Imports the rooms below it. `tune`, `simulate` and `ask_tell` import this room.
"""
