"""Settings of a training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from cubecrop.checks import brief, check_names, check_number, check_share, check_whole
from cubecrop.errors import LabelError
from cubecrop.model import WEATHER, NetworkOptions
from cubecrop.schema import SERIES

__all__ = ["TrainConfig", "as_config"]

Precision = Literal["float32", "bfloat16"]

#: Whole numbers, and the minimum of each.
_WHOLE: Final = {"epochs": 1, "patience": 1, "batch_size": 2, "n_pixels": 1, "n_averaged": 1}
#: Settings that may be None.
_OPTIONAL: Final = {"epochs", "patience", "validation"}
_SHARES: Final = (
    "warm_up", "label_smoothing", "small_sets", "sensor_dropout", "validation", "alpha",
)  # fmt: skip
_NOT_NEGATIVE: Final = (
    "weight_decay", "focal", "class_balance", "auxiliary", "jitter", "offset", "shift_days",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of a training; the defaults suit tens to thousands of parcels.

    Parameters
    ----------
    network : NetworkOptions
        The network to train: fusion, temporal encoder, time encoding, inputs and sizes.
    epochs : int, optional
        Passes over the parcels; by default 40, or as many as make 240 steps.
    batch_size : int
        Parcels per step.
    learning_rate : float
        Highest rate of a cosine schedule with warm-up.
    warm_up : float
        Share of the steps over which the rate rises to its highest.
    weight_decay : float
        Weight decay of AdamW.
    clip_norm : float
        Largest norm of the gradient; larger gradients are scaled down.
    focal : float
        Exponent of the focal loss (Lin et al. 2017, arXiv:1708.02002), which gives less weight to
        parcels that are predicted correctly with high confidence. 0 is the cross-entropy.
    label_smoothing : float
        Share of the target spread over all classes.
    class_balance : float
        The weight of a class is its frequency to the power of minus this number: 0 leaves
        classes unbalanced, 1 gives all classes the same total weight.
    auxiliary : float
        Weight of the mean loss of the series' own classifiers, if the network has them
        (`NetworkOptions.auxiliary`).
    n_pixels : int
        Pixels per parcel in a step, and at prediction.
    small_sets : float
        Share of steps with sets of 1 to 16 pixels, so that the model can also map single pixels.
    date_dropout : mapping
        Share of dates that are dropped at random, by sensor.
    jitter : float
        Noise added to each pixel, in standard deviations of the band.
    offset : float
        Noise added to a band of a parcel, the same on all dates, in standard deviations: soils,
        atmospheres and incidence angles differ between regions.
    shift_days : float
        All dates of a parcel are moved by the same random number of days, up to this many earlier
        or later: seasons differ between regions and years.
    windows : tuple of float, optional
        Latest start and earliest end of the windows to which the series of half of the parcels are
        cut at random in a step, as shares of the season. Such a model also takes data of a shorter
        season. By default series are not cut.
    may_be_missing : tuple of str
        Sensors that may be absent at prediction.
    sensor_dropout : float
        Share of the loss on parcels without a sensor. Late and decision fusion predict every
        parcel of a step with all sensors, and without each of them, also those that may not be
        missing: each sensor must learn the crops by itself, since another sensor's signal may not
        hold in other regions. Early and mid fusion drop each sensor that may be missing from this
        share of parcels.
    validation : float, optional
        Share of the training parcels that choose the best epoch and calibrate the model's
        probabilities; see `cubecrop.training.validation`. By default 0.15 with 2,000 parcels or
        more, else 0. With 0 the last epoch is taken, and the model has no crop sets.
    patience : int, optional
        Stop after this many epochs without a better validation score; by default never.
    n_averaged : int
        Number of trainings from one start, the ``init`` of `cubecrop.fit`, whose weights are
        averaged; see `cubecrop.training.averaging`. The model is steadier, above all in other
        regions, and as large and fast as one network; the training takes this many times as long.
    alpha : float
        Share of parcels whose crop may be missing from their crop set.
    precision : {"float32", "bfloat16"}
        Precision of the network; ``"bfloat16"`` is mixed precision, for graphics cards.
    compile : bool
        Compile the network with `torch.compile`, which makes training on a graphics card faster.
        It needs a C++ compiler and some time before the first step.
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
        # Optical as in Garnot et al. 2022, arXiv:2112.07558. Radar has an image of every pass, so
        # more of its dates can be dropped, which also makes a step faster.
        default_factory=lambda: {"sentinel2": 0.4, "sentinel1": 0.5}
    )
    jitter: float = 0.05
    offset: float = 0.0
    shift_days: float = 0.0
    windows: tuple[float, float] | None = None
    may_be_missing: tuple[str, ...] = ()
    sensor_dropout: float = 0.4
    validation: float | None = None
    patience: int | None = None
    n_averaged: int = 1
    alpha: float = 0.1
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.network, NetworkOptions):
            raise LabelError(
                f"network is {brief(self.network)}, expected NetworkOptions, as in "
                "`TrainConfig(network=NetworkOptions(fusion='late'))`."
            )
        for name, minimum in _WHOLE.items():
            if (value := getattr(self, name)) is not None or name not in _OPTIONAL:
                check_whole(name, value, minimum=minimum, error=LabelError)
        self._check_numbers()
        missing = check_names(
            "may_be_missing", self.may_be_missing, tuple(SERIES), empty=True, error=LabelError
        )
        object.__setattr__(self, "may_be_missing", missing)
        self._check_windows()
        if type(self.compile) is not bool:
            raise LabelError(f"compile is {brief(self.compile)}, expected True or False.")
        if bool(self.auxiliary) != self.network.auxiliary:
            raise LabelError(
                f"auxiliary is {self.auxiliary} and network.auxiliary is "
                f"{self.network.auxiliary}, expected both or neither. Pass both, `auxiliary=0.5, "
                "network=NetworkOptions(auxiliary=True)`, or leave both out."
            )
        if self.precision not in get_args(Precision):
            raise LabelError(
                f"precision is {self.precision!r}, expected one of {get_args(Precision)}."
            )

    def _check_numbers(self) -> None:
        """Raise unless shares and other numbers are within their ranges."""
        dropped: object = self.date_dropout
        known = [*SERIES, WEATHER]
        if not isinstance(dropped, Mapping) or not set(dropped) <= set(known):
            raise LabelError(
                f"date_dropout is {brief(dropped)}, expected shares of some of {known}, as in "
                "`date_dropout={'sentinel2': 0.4}`."
            )
        shares = {f"date_dropout[{sensor!r}]": share for sensor, share in dropped.items()}
        shares |= {name: getattr(self, name) for name in _SHARES}
        for name, share in shares.items():
            if share is not None or name not in _OPTIONAL:
                check_share(name, share, whole=name == "small_sets", error=LabelError)
        for name in _NOT_NEGATIVE:
            check_number(name, getattr(self, name), minimum=0, what="0 or more", error=LabelError)
        for name in ("learning_rate", "clip_norm"):
            check_number(name, getattr(self, name), above=0, what="more than 0", error=LabelError)

    def _check_windows(self) -> None:
        """Raise unless windows are None, or a share for the start below one for the end."""
        if self.windows is None:
            return
        given: object = self.windows
        shares = tuple(given) if isinstance(given, list | tuple) else ()
        if len(shares) != 2:
            raise LabelError(
                f"windows is {brief(given)}, expected two shares of the season, as in "
                "`windows=(0.4, 0.7)`."
            )
        for share in shares:
            check_share("a share of windows", share, whole=True, error=LabelError)
        if shares[0] >= shares[1]:
            raise LabelError(
                f"windows is {brief(given)}, expected a latest start before the earliest end, as "
                "in `windows=(0.4, 0.7)`."
            )
        object.__setattr__(self, "windows", shares)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model's record."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def as_config(config: object) -> TrainConfig:
    """Return the config, or the default for None; raise if it is not a TrainConfig."""
    if config is None:
        return TrainConfig()
    if not isinstance(config, TrainConfig):
        example = ", ".join(f"{key}={value!r}" for key, value in config.items()) if (
            isinstance(config, Mapping) and all(isinstance(key, str) for key in config)
        ) else "epochs=40"  # fmt: skip
        raise LabelError(
            f"config is {brief(config)}, expected a TrainConfig, as in `TrainConfig({example})`."
        )
    return config
