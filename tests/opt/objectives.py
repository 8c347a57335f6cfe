"""Objectives of a module that workers import by name, as a user's own would be."""

from typing import Any


def half(config: dict[str, Any]) -> float:
    return config["x"] / 2
