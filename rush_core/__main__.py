"""``python -m rush_core`` runs the commands of the core."""

from rush_core.cli import main

if __name__ == "__main__":
    main()
