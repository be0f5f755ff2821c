"""Learn how to dose a patient, and prove it before anyone is dosed. Research simulation, not for clinical
use."""

__version__ = "0.1.0"
