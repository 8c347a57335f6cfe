"""The decoders of everything that comes from outside, as functions of bytes.

`tests/test_decoders.py` gives them altered examples; `experiments/fuzz_decoders.py` searches for
bytes that reach new code.
"""
