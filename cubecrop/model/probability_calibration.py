"""Calibrated probabilities, and sets of crops that contain the true one with a known share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Calibration", "calibration_text", "tempered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Probability calibration of a network on its validation parcels.

    Parameters
    ----------
    temperature : float
        Divides the logits. Above 1 the network was overconfident. Guo et al. 2017,
        arXiv:1706.04599.
    alpha : float
        Share of parcels whose crop may be missing from their crop set.
    threshold : float
        A crop with at least this probability is in the set (split conformal prediction with
        the LAC score; Sadinle et al. 2019, doi:10.1080/01621459.2017.1395341).
    n : int
        Number of validation parcels.
    """

    temperature: float
    alpha: float
    threshold: float
    n: int

    def __post_init__(self) -> None:
        # A file stores floats: an int here would have another digest than the float read back.
        for name in ("temperature", "alpha", "threshold"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (
            0 < self.temperature < float("inf")
            and 0 < self.alpha < 1
            and 0 <= self.threshold <= 1
            and self.n > 0
        ):
            raise ModelFormatError(f"this is not a valid probability calibration: {self}.")

    def crop_sets(self, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which crops are in the set.

        Parameters
        ----------
        probability : numpy.ndarray
            (…, crop) calibrated probability, NaN where there is no prediction.

        Returns
        -------
        numpy.ndarray
            (…, crop) bool. A set always contains the most probable crop; without a prediction
            the set is empty.
        """
        known = np.isfinite(probability).all(axis=-1, keepdims=True)
        values = np.where(known, probability, -1)
        inside = (values >= self.threshold) | (values == values.max(axis=-1, keepdims=True))
        return np.asarray(inside & known)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Read from JSON types."""
        return cls(
            temperature=float(raw["temperature"]),
            alpha=float(raw["alpha"]),
            threshold=float(raw["threshold" if "threshold" in raw else "least"]),
            n=int(raw["n"]),
        )


def calibration_text(calibration: Calibration | None) -> str:
    """Describe a calibration: "temperature 1.3, crop sets at 0.9", or "uncalibrated"."""
    if calibration is None:
        return "uncalibrated"
    return f"temperature {calibration.temperature:.3g}, crop sets at {1 - calibration.alpha:.3g}"


def tempered(probability: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Divide the logits of probabilities (…, crop) by a temperature; NaN stays NaN."""
    if temperature == 1:
        return probability
    logits = np.log(np.maximum(probability, np.float32(1e-30))) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float32)
