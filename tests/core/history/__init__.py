"""Histories of what clients asked and were answered, and a judge that reads them.

Clients write each operation to a file of their own (`operations`). The judge compares all files
with what the server holds at the end (`contents`), which is read without the code under test.
"""
