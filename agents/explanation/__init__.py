"""What a learned policy does, in words and figures: where it departs from its anchor, what that brings, which
features decide, and which simple rules come close."""

from dosewright.agents.explanation.explanation import explain

__all__ = ["explain"]
