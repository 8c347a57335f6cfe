"""``python -m rush_core`` is the ``rush`` command."""

from rush_core.cli import main

if __name__ == "__main__":
    main()
