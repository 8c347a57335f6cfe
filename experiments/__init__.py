"""One question per file or folder, each run from the project's root with ``python -m``."""
