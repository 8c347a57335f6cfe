"""A target: a decoder, the errors that it may raise, and examples to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Target"]


@dataclass(frozen=True)
class Target:
    """A decoder that is given bytes of another program.

    Parameters
    ----------
    name : str
    decode : callable
        Decodes the bytes and reads everything in them.
    errors : tuple of exception classes
        What it may raise; everything else is a finding.
    examples : tuple of bytes
        Valid ones, and those that a finding was about.
    words : tuple of bytes
        What is worth inserting into an example.
    """

    name: str
    decode: Callable[[bytes], object]
    errors: tuple[type[BaseException], ...]
    examples: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()

    def run(self, content: bytes) -> bool:
        """Decode; return whether the bytes were accepted."""
        try:
            self.decode(content)
        except self.errors:
            return False
        return True
