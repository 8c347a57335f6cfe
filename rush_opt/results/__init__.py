"""What a run found: its record, and the result with its tables, pictures and files.

`record` and `trials` are plain data. All else reads them; `result` stands above all other modules.
Imports `space`, `problem`, `stopping` and `models`.
"""
