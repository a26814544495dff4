"""How a network is trained."""

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
        calibrated; see `cubecrop.training.validation`. By default 0.15 of 2,000 parcels or more,
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
        if not isinstance(self.network, NetworkOptions):
            raise LabelError(
                f"network is {brief(self.network)}, expected NetworkOptions, as in "
                "`TrainConfig(network=NetworkOptions(fusion='late'))`."
            )
        for name, least in (("epochs", 1), ("patience", 1), ("batch_size", 2), ("n_pixels", 1)):
            if (value := getattr(self, name)) is not None or name not in _OPTIONAL:
                check_whole(name, value, minimum=least, error=LabelError)
        self._check_numbers()
        missing = check_names(
            "may_be_missing", self.may_be_missing, tuple(SERIES), empty=True, error=LabelError
        )
        object.__setattr__(self, "may_be_missing", missing)
        if type(self.compile) is not bool:
            raise LabelError(f"compile is {brief(self.compile)}, expected True or False.")
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

    def _check_numbers(self) -> None:
        """Raise unless shares are shares, and other numbers within their ranges."""
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

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model's record."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def as_config(config: object) -> TrainConfig:
    """A config as it is, the default one for None; raises where it is of another kind."""
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
