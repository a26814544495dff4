"""Calibrating a trained network by its validation parcels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

from cubecrop.model import Calibration, tempered

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["calibrate"]

#: Fewer parcels than this say nothing about probabilities.
_FEWEST = 20


def calibrate(
    probability: NDArray[np.float32], truth: NDArray[np.int64], *, alpha: float
) -> Calibration | None:
    """Find the temperature, and the probability from which a crop is in a parcel's set.

    The temperature is that of the least negative log-likelihood. Crop sets then hold the
    true crop of a share of 1 - alpha or more of parcels that are exchangeable with the
    validation parcels (split conformal prediction). These also chose the temperature and
    the epoch, which makes the sets a little smaller than the theory asks.

    Parameters
    ----------
    probability : numpy.ndarray
        (parcel, crop) of validation parcels, NaN where there is no prediction.
    truth : numpy.ndarray
        (parcel,) class indices.
    alpha : float
        Above 0 to below 1.

    Returns
    -------
    Calibration or None
        None with under 20 parcels.
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

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded")
    temperature = float(math.exp(found.x))
    chance = np.sort(tempered(probability, temperature)[row, truth].astype(np.float64))
    # The k-th smallest probability of the truth, with the correction for finite samples;
    # where there are too few parcels for this alpha, every crop is in.
    k = math.floor((n + 1) * alpha)
    threshold = float(chance[k - 1]) if k >= 1 else 0.0
    return Calibration(temperature=temperature, alpha=alpha, threshold=threshold, n=n)
