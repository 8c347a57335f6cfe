"""What becomes of a run whose objectives do the worst?

More than 200 cases, each with and without limits of trials, with random search and with ADBO. Does
each run start its exact number of trials, is each trial in the table as it must be, and is no
process left over? Expected before running: yes, in each case. An objective that ends its worker
loses its trial, and with limits fails it; any other fails its trial, or changes nothing.

Run from the project's root: ``python -m experiments.hostile_objectives``. Rows are appended; the
table has the last row of each case. ``--case TEXT`` plays some cases again.
"""
