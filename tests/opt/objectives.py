"""Objectives of a module that workers import by name, as a user's own would be."""

from typing import Any


def identity(config: dict[str, Any]) -> float:
    return float(config["x"])


def half(config: dict[str, Any]) -> float:
    return config["x"] / 2


def bowl(config: dict[str, Any]) -> float:
    """Be least, and 0, at x = 0.3 and y = 0.7."""
    return float((config["x"] - 0.3) ** 2 + (config["y"] - 0.7) ** 2)
