"""Which log records a worker sends: one level for all loggers, and others for some of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["LogLevels"]

# What separates the parts of the text form; names of loggers must not contain it.
_SEPARATORS = (",", "=")


@dataclass(frozen=True)
class LogLevels:
    """The least severe level that is sent, for each logger.

    Attributes
    ----------
    others : int
        For all loggers that are not named.
    named : dict of str to int
        By the name of a logger; holds for the loggers below it, too.
    """

    others: int
    named: Mapping[str, int]

    @classmethod
    def of(cls, given: str | Mapping[str, str]) -> Self:
        """Read a level for all loggers, a mapping in which "" names all others, or the text form.

        Raises
        ------
        ValueError
            If a level does not exist, or the name of a logger has a comma or an equals sign.
        """
        levels = dict(given) if isinstance(given, Mapping) else _parse(given)
        known = logging.getLevelNamesMapping()
        for name, level in levels.items():
            if level not in known:
                which = f" for logger {name!r}" if name else ""
                raise ValueError(
                    f"log_level must be one of {', '.join(known)}, got {level!r}{which}"
                )
            if any(separator in name for separator in _SEPARATORS):
                raise ValueError(f"names of loggers must have no comma and no '=', got {name!r}")
        others = known[levels.pop("", "INFO")]
        return cls(others, {name: known[level] for name, level in levels.items()})

    def __str__(self) -> str:
        """Return the text form, as ``INFO,study=DEBUG``, which command lines take."""
        named = [f"{name}={logging.getLevelName(level)}" for name, level in self.named.items()]
        return ",".join((logging.getLevelName(self.others), *named))

    def level_of(self, logger: str) -> int:
        """Return the level for a logger: that of the nearest logger above it that is named."""
        while logger:
            if logger in self.named:
                return self.named[logger]
            logger = logger.rpartition(".")[0]
        return self.others

    def includes(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is sent."""
        return record.levelno >= self.level_of(record.name)


def _parse(text: str) -> dict[str, str]:
    """Read the text form."""
    parts = [part.rpartition("=") for part in text.split(",")]
    return {name: level for name, _, level in parts}
