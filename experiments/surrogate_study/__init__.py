"""Which settings of the optimizer lead to the lowest regret? See README.md."""
