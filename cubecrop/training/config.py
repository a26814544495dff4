"""How a network is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TrainConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of a training; the defaults suit some tens to some thousands of parcels.

    Parameters
    ----------
    epochs : int, optional
        Passes over the parcels; by default 40, and more where that makes under 240 steps.
    batch_size : int
        Parcels a step.
    learning_rate : float
        Highest rate of a cosine schedule with warm-up.
    weight_decay : float
        Of AdamW.
    label_smoothing : float
        Share of the target spread over all classes.
    class_balance : float
        Weight of a class is its frequency to the power of minus this: 0 is none, 1 full.
    n_pixels : int
        Pixels of a parcel in a step, and at prediction.
    small_sets : float
        Share of steps whose sets hold 1 to 16 pixels, so that single pixels can be mapped.
    date_dropout : mapping
        Share of dates dropped at random, by sensor.
    jitter : float
        Noise added to each pixel, in standard deviations of the band.
    may_be_missing : tuple of str
        Sensors that the model promises to do without. Each is dropped whole from a share
        of training parcels.
    sensor_dropout : float
        That share.
    clip_norm : float
        Longest gradient.
    """

    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    class_balance: float = 0.5
    n_pixels: int = 64
    small_sets: float = 0.8
    date_dropout: Mapping[str, float] = field(
        # Optical as in Garnot et al. 2022, arXiv:2112.07558. Radar sees every pass, so more
        # of its dates can go; that also makes a step cheaper.
        default_factory=lambda: {"sentinel2": 0.4, "sentinel1": 0.5}
    )
    jitter: float = 0.05
    may_be_missing: tuple[str, ...] = ()
    sensor_dropout: float = 0.2
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise LabelError(f"epochs is {self.epochs}, expected 1 or more.")
        if self.batch_size < 2 or self.n_pixels < 1:
            raise LabelError(
                f"batch_size is {self.batch_size} and n_pixels {self.n_pixels}, expected at "
                "least 2 and 1."
            )
        shares = {
            "label_smoothing": self.label_smoothing,
            "small_sets": self.small_sets,
            "sensor_dropout": self.sensor_dropout,
            **{f"date_dropout[{k}]": v for k, v in self.date_dropout.items()},
        }
        for name, share in shares.items():
            if not 0 <= share <= 1 or (name != "small_sets" and share == 1):
                raise LabelError(f"{name} is {share}, expected 0 to below 1.")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model's record."""
        return {**asdict(self), "may_be_missing": list(self.may_be_missing)}
