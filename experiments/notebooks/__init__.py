"""Notebooks that show the packages at work, kept with their outputs."""
