"""Probabilities that mean what they say, and sets of crops that hold the true one."""

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
    """What validation parcels say of a network's probabilities.

    Parameters
    ----------
    temperature : float
        Logits are divided by it: above 1 the network was too sure. Guo et al. 2017,
        arXiv:1706.04599.
    alpha : float
        Share of parcels whose crop may lie outside their crop set.
    least : float
        A crop of at least this probability is in the set (split conformal prediction with
        the LAC score; Sadinle et al. 2019, doi:10.1080/01621459.2017.1395341).
    n : int
        Validation parcels that this rests on.
    """

    temperature: float
    alpha: float
    least: float
    n: int

    def __post_init__(self) -> None:
        # As a file holds them: an int has another digest than the float that is read back.
        for name in ("temperature", "alpha", "least"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (
            0 < self.temperature < float("inf")
            and 0 < self.alpha < 1
            and 0 <= self.least <= 1
            and self.n > 0
        ):
            raise ModelFormatError(f"this is not a calibration: {self}.")

    def crop_sets(self, probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which crops are in the set.

        Parameters
        ----------
        probability : numpy.ndarray
            (…, crop) calibrated probability, NaN where there is no prediction.

        Returns
        -------
        numpy.ndarray
            (…, crop) bool. The most probable crop is always in; a set without a prediction
            is empty.
        """
        known = np.isfinite(probability).all(axis=-1, keepdims=True)
        values = np.where(known, probability, -1)
        inside = (values >= self.least) | (values == values.max(axis=-1, keepdims=True))
        return np.asarray(inside & known)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Read from JSON types."""
        return cls(
            temperature=float(raw["temperature"]),
            alpha=float(raw["alpha"]),
            least=float(raw["least"]),
            n=int(raw["n"]),
        )


def calibration_text(calibration: Calibration | None) -> str:
    """A calibration in words: "temperature 1.3, crop sets at 0.9", or "uncalibrated"."""
    if calibration is None:
        return "uncalibrated"
    return f"temperature {calibration.temperature:.3g}, crop sets at {1 - calibration.alpha:.3g}"


def tempered(probability: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities (…, crop) whose logits are divided by a temperature; NaN stays NaN."""
    if temperature == 1:
        return probability
    logits = np.log(np.maximum(probability, np.float32(1e-30))) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float32)
