"""How a network is trained."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from cubecrop.errors import LabelError
from cubecrop.model import WEATHER, NetworkOptions
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TrainConfig"]

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of a training; the defaults suit some tens to some thousands of parcels.

    Parameters
    ----------
    network : NetworkOptions
        What is trained: fusion, temporal encoder, time encoding, inputs and sizes.
    epochs : int, optional
        Passes over the parcels; by default 40, and more where that makes under 240 steps.
    batch_size : int
        Parcels a step.
    learning_rate : float
        Highest rate of a cosine schedule with warm-up.
    warm_up : float
        Share of the steps over which the rate rises to its highest.
    weight_decay : float
        Of AdamW.
    clip_norm : float
        Longest gradient.
    focal : float
        Exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002): parcels that are
        right and sure weigh less. 0 is the cross-entropy.
    label_smoothing : float
        Share of the target spread over all classes.
    class_balance : float
        Weight of a class is its frequency to the power of minus this: 0 is none, 1 full.
    auxiliary : float
        Weight of the mean loss of the series' own classifiers, where the network has them
        (`NetworkOptions.auxiliary`).
    n_pixels : int
        Pixels of a parcel in a step, and at prediction.
    small_sets : float
        Share of steps whose sets hold 1 to 16 pixels, so that single pixels can be mapped.
    date_dropout : mapping
        Share of dates dropped at random, by sensor.
    jitter : float
        Noise added to each pixel, in standard deviations of the band.
    offset : float
        Noise added to a band of a parcel on all its dates alike, in standard deviations:
        soils, atmospheres and incidence angles differ between regions.
    shift_days : float
        A parcel's dates are all moved by up to this many days, earlier or later: seasons
        differ between regions and years.
    may_be_missing : tuple of str
        Sensors that the model promises to do without.
    sensor_dropout : float
        Share of the loss on parcels that lack a sensor. Late and decision fusion decide every
        parcel of a step with all sensors and without each, whether it may be missing or not:
        no sensor can leave its part to another, whose signs may not hold elsewhere. In early
        and mid fusion, each that may be missing is dropped whole from this share of parcels.
    validation : float, optional
        Share of the training parcels by which the best epoch is chosen and the model
        calibrated; see `cubecrop.training.hold_out`. By default 0.15 of 2,000 parcels or more,
        else 0: then the last epoch is taken, and the model has no crop sets.
    patience : int, optional
        Stop after so many epochs without a better validation score; by default never.
    alpha : float
        Share of parcels whose crop may lie outside their crop set.
    precision : {"float32", "bfloat16"}
        Of the network's arithmetic; ``"bfloat16"`` is mixed precision, for graphics cards.
    compile : bool
        Compile the network with `torch.compile`, which needs a C++ compiler and some time before
        the first step; it pays on a graphics card.
    """

    network: NetworkOptions = field(default_factory=NetworkOptions)
    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float = 3e-3
    warm_up: float = 0.05
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    focal: float = 0.0
    label_smoothing: float = 0.05
    class_balance: float = 0.5
    auxiliary: float = 0.0
    n_pixels: int = 64
    small_sets: float = 0.8
    date_dropout: Mapping[str, float] = field(
        # Optical as in Garnot et al. 2022, arXiv:2112.07558. Radar sees every pass, so more
        # of its dates can go; that also makes a step cheaper.
        default_factory=lambda: {"sentinel2": 0.4, "sentinel1": 0.5}
    )
    jitter: float = 0.05
    offset: float = 0.0
    shift_days: float = 0.0
    may_be_missing: tuple[str, ...] = ()
    sensor_dropout: float = 0.4
    validation: float | None = None
    patience: int | None = None
    alpha: float = 0.1
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise LabelError(f"epochs is {self.epochs}, expected 1 or more.")
        if self.patience is not None and self.patience < 1:
            raise LabelError(f"patience is {self.patience}, expected 1 epoch or more, or None.")
        if self.batch_size < 2 or self.n_pixels < 1:
            raise LabelError(
                f"batch_size is {self.batch_size} and n_pixels {self.n_pixels}, expected at "
                "least 2 and 1."
            )
        if unknown := sorted(set(self.date_dropout) - {*SERIES, WEATHER}):
            raise LabelError(
                f"date_dropout names {unknown}, expected some of {[*SERIES, WEATHER]}."
            )
        shares = {
            "warm_up": self.warm_up,
            "label_smoothing": self.label_smoothing,
            "small_sets": self.small_sets,
            "sensor_dropout": self.sensor_dropout,
            "validation": self.validation or 0.0,
            "alpha": self.alpha,
            **{f"date_dropout[{k}]": v for k, v in self.date_dropout.items()},
        }
        for name, share in shares.items():
            if not 0 <= share <= 1 or (name != "small_sets" and share == 1):
                raise LabelError(f"{name} is {share}, expected 0 to below 1.")
        for name in ("weight_decay", "focal", "class_balance", "auxiliary", "jitter", "offset",
                     "shift_days"):  # fmt: skip
            if not (0 <= getattr(self, name) < float("inf")):
                raise LabelError(f"{name} is {getattr(self, name)}, expected 0 or more.")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise LabelError(f"{name} is {getattr(self, name)}, expected more than 0.")
        if bool(self.auxiliary) != self.network.auxiliary:
            raise LabelError(
                f"auxiliary is {self.auxiliary} and network.auxiliary {self.network.auxiliary}; "
                "the series' own classifiers need a weight, and the weight needs them. Give "
                "both, `auxiliary=0.5, network=NetworkOptions(auxiliary=True)`, or neither."
            )
        if self.precision not in get_args(Precision):
            raise LabelError(
                f"precision is {self.precision!r}, expected one of {get_args(Precision)}."
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model's record."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
