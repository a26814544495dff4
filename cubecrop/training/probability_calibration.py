"""Probability calibration of a trained network on its validation parcels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

from cubecrop.model import Calibration, tempered

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["calibrate"]

#: With fewer parcels than this, no calibration is reliable.
_FEWEST = 20


def calibrate(
    probability: NDArray[np.float32], truth: NDArray[np.int64], *, alpha: float
) -> Calibration | None:
    """Fit the temperature, and the minimum probability of a crop in a parcel's crop set.

    The temperature minimises the negative log-likelihood. For parcels that are exchangeable with
    the validation parcels, at least a share of 1 - alpha of the crop sets contains the true crop
    (split conformal prediction). The validation parcels also chose the temperature and the epoch,
    which makes the sets slightly smaller than the theory requires.

    Parameters
    ----------
    probability : numpy.ndarray
        (parcel, crop) of validation parcels, NaN where there is no prediction.
    truth : numpy.ndarray
        (parcel,) class indices.
    alpha : float
        Share of parcels whose crop may be missing from their set, between 0 and 1.

    Returns
    -------
    Calibration or None
        None with fewer than 20 predicted parcels, or an alpha of 0.
    """
    known = np.isfinite(probability).all(axis=1)
    probability, truth = probability[known], truth[known]
    n = len(truth)
    if n < _FEWEST or alpha <= 0:
        return None
    row = np.arange(n)

    def loss(log_temperature: float) -> float:
        chance = tempered(probability, math.exp(log_temperature))[row, truth]
        return float(-np.log(np.maximum(chance, 1e-12)).mean())

    optimum = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded")
    temperature = float(math.exp(optimum.x))
    chance = np.sort(tempered(probability, temperature)[row, truth].astype(np.float64))
    # The k-th smallest probability of the true class, with the correction for finite samples.
    # With too few parcels for this alpha, every set contains all crops.
    k = math.floor((n + 1) * alpha)
    threshold = float(chance[k - 1]) if k >= 1 else 0.0
    return Calibration(temperature=temperature, alpha=alpha, threshold=threshold, n=n)
