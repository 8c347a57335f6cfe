"""What is optimized: the search space and the goals, without how and how long.

Imports `space` only.
"""
