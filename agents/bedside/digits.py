"""Numbers as a chart shows them: significant digits, never a power of ten."""

import numpy as np


def digits(value: float, count: int = 3) -> str:
    """Return a number to `count` significant digits: 3560 mg is not 3.56e+03."""
    return np.format_float_positional(value, precision=count, unique=False, fractional=False, trim="-")
