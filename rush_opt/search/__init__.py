"""From finished trials to the next configuration: archive, designs, acquisition and candidates.

Imports `space`, `stopping` and `models`.
"""
