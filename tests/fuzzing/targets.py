"""All targets, by name."""

from __future__ import annotations

from tests.fuzzing.core_targets import CORE_TARGETS
from tests.fuzzing.opt_targets import OPT_TARGETS

__all__ = ["TARGETS"]

TARGETS = {target.name: target for target in (*CORE_TARGETS, *OPT_TARGETS)}
