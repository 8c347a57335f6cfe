"""From finished trials to the next point: archive, designs, acquisition, candidates.

Imports `space`, `stopping` and `models`.
"""
