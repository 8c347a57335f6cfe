"""Which settings of the optimizer lead to the lowest regret; see README.md."""
