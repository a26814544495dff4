"""The 95 % interval of a share that was counted."""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["Z_95", "Interval", "wilson"]

#: Low and high end of a value.
Interval = tuple[float, float]

#: The normal distribution's quantile of 97.5 %: half the width of a 95 % interval, in deviations.
Z_95: Final = 1.959963984540054


def wilson(hits: float, n: int) -> Interval:
    """Wilson's 95 % interval of a share; (0, 1) if nothing was counted.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * float(np.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)
