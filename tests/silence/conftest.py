"""The silence test makes its own tracers: one of each tier, side by side."""

from tests.live.conftest import _able

__all__ = ["_able"]
