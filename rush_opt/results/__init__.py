"""The results of a run: its record, and the result object with tables, pictures and files.

`record` and `trials` are plain data. The other modules read them. `result` imports all the others.
Imports `space`, `problem`, `stopping` and `models`.
"""
