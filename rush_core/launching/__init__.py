"""Starting workers: as processes of this machine, through an executor, or by a shell command.

Imports the rooms below it; only `network` and the command line import it.
"""
