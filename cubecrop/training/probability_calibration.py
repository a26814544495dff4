"""Probability calibration of a trained network on parcels that it did not learn from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

from cubecrop.model import Calibration, tempered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["calibrate", "calibrate_to_hardest"]

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
    probability, truth = _predicted(probability, truth)
    n = len(truth)
    if n < _FEWEST or alpha <= 0:
        return None
    temperature = _temperature(probability, truth)
    threshold = _threshold(tempered(probability, temperature), truth, alpha)
    return Calibration(temperature=temperature, alpha=alpha, threshold=threshold, n=n)


def calibrate_to_hardest(
    parts: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]], *, alpha: float
) -> Calibration | None:
    """Fit a calibration to the part on which the network is most overconfident.

    The temperature is the highest that a part needs. With it, the threshold is the lowest that a
    part needs: in each part, at least a share of 1 - alpha of the crop sets contains the true
    crop.

    Parameters
    ----------
    parts : sequence of tuple
        Probabilities and class indices, as for `calibrate`, of each part.
    alpha : float
        As for `calibrate`.

    Returns
    -------
    Calibration or None
        ``n`` counts the parcels of the parts that it used. None if every part has fewer than 20
        predicted parcels, or alpha is 0.
    """
    known = [_predicted(*part) for part in parts]
    used = [part for part in known if len(part[1]) >= _FEWEST]
    if not used or alpha <= 0:
        return None
    temperature = max(_temperature(*part) for part in used)
    threshold = min(
        _threshold(tempered(probability, temperature), truth, alpha) for probability, truth in used
    )
    n = sum(len(truth) for _, truth in used)
    return Calibration(temperature=temperature, alpha=alpha, threshold=threshold, n=n)


def _predicted(
    probability: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    known = np.isfinite(probability).all(axis=1)
    return probability[known], truth[known]


def _temperature(probability: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    row = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        chance = tempered(probability, math.exp(log_temperature))[row, truth]
        return float(-np.log(np.maximum(chance, 1e-12)).mean())

    optimum = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded")
    return float(math.exp(optimum.x))


def _threshold(probability: NDArray[np.float32], truth: NDArray[np.int64], alpha: float) -> float:
    """Minimum probability of a crop in a set, for tempered probabilities."""
    n = len(truth)
    chance = np.sort(probability[np.arange(n), truth].astype(np.float64))
    # The k-th smallest probability of the true class, with the correction for finite samples.
    # With too few parcels for this alpha, every set contains all crops.
    k = math.floor((n + 1) * alpha)
    return float(chance[k - 1]) if k >= 1 else 0.0
