"""Start a training from the encoders of another network: a model's, or pre-trained ones."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from cubecrop.checks import brief
from cubecrop.errors import LabelError, SchemaError
from cubecrop.model import (
    MODEL_FILES,
    CropModel,
    NetworkOptions,
    PrestoWeights,
    in_window,
    read_presto,
    season_of,
    window_text,
)
from cubecrop.model.outputs import FUSED
from cubecrop.model.presto import bands_of
from cubecrop.training.pretraining import Encoders

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop.model import CropNetwork, SensorConfig
    from cubecrop.model.presto import Presto
    from cubecrop.training.config import TrainConfig

__all__ = ["Init", "as_init", "check_init", "config_of_init", "load_encoders", "sensors_of_init",
           "trees_of_init"]  # fmt: skip

#: What a training may start from.
Init = CropModel | Encoders | PrestoWeights
#: The layers before the classes, which depend on the classes and are learned anew.
_CLASSIFIERS: Final = ("decoders.", "auxiliary.")
#: Endings of files with weights of Presto.
_WEIGHTS: Final = {".pt", ".pth", ".safetensors"}


def as_init(init: Init | str | Path | None) -> Init | None:
    """What a training may start from; a folder is read as a model, a file as Presto's weights."""
    if isinstance(init, str | Path):
        path = Path(init)
        # The files of a model are refused by a message that names its folder.
        weights = path.suffix in _WEIGHTS and path.name not in MODEL_FILES and not path.is_dir()
        init = read_presto(path) if weights else CropModel.load(path)
    check_init(init)
    return init


def check_init(init: object) -> None:
    """Raise unless ``init`` is None, a model or encoders, with a season if they need one."""
    if init is None or isinstance(init, PrestoWeights):
        return
    if not isinstance(init, CropModel | Encoders):
        raise LabelError(
            f"init is {brief(init)}, expected a CropModel, as from `CropModel.load(...)`, or "
            "encoders, as from `cubecrop.training.pretrain` or `cubecrop.model.read_presto`."
        )
    if init.season_window is None:
        raise LabelError(
            "init is a model without a season, such as published weights, so its days cannot be "
            "compared. Start from a model that was trained by cubecrop."
        )


def config_of_init(init: Init | None, config: TrainConfig) -> TrainConfig:
    """The settings with the network of ``init``; raises if they ask for another one."""
    if init is None:
        if config.network.temporal == "presto":
            raise LabelError(
                "config.network is Presto, which is not trained from random weights. Pass its "
                "weights, `init=cubecrop.model.read_presto(path)`."
            )
        return config
    if isinstance(init, PrestoWeights) or init.network.config.temporal == "presto":
        return _config_of_presto(config)
    own = init.network.config
    options = NetworkOptions(**{f.name: getattr(own, f.name) for f in fields(NetworkOptions)})
    # The layers before the classes are new in any case, and shares that are dropped can change.
    free = ("decoder", "dropout", "attention_dropout", "auxiliary")
    wanted = replace(options, **{name: getattr(config.network, name) for name in free})
    if config.network == NetworkOptions():
        return replace(config, network=wanted)
    asked = {
        f.name: getattr(config.network, f.name)
        for f in fields(NetworkOptions)
        if getattr(config.network, f.name) not in {None, getattr(wanted, f.name)}
    }
    if asked:
        raise LabelError(
            f"config.network asks for {asked}, but the network of init has other values. Leave "
            "`network` out of the TrainConfig, which takes that of init, or train without init."
        )
    return replace(config, network=wanted)


def _config_of_presto(config: TrainConfig) -> TrainConfig:
    if config.network == NetworkOptions():
        return replace(config, network=NetworkOptions.published("presto"))
    if config.network.temporal != "presto":
        raise LabelError(
            "config.network is not Presto, but init is. Leave `network` out of the TrainConfig, or "
            "start from `NetworkOptions.published('presto')`."
        )
    return config


def sensors_of_init(
    init: Init | None, sensors: tuple[SensorConfig, ...]
) -> tuple[SensorConfig, ...]:
    """The sensors of the samples that ``init`` knows, with its bands.

    Raises
    ------
    SchemaError
        The samples have none of its sensors, or lack bands of one. Presto needs the bands of at
        least one of its groups.
    """
    if init is None:
        return sensors
    if isinstance(init, PrestoWeights):
        return bands_of(sensors)
    here = {sensor.name: sensor for sensor in sensors}
    known = tuple(sensor for sensor in init.network.config.sensors if sensor.name in here)
    if not known:
        names = [sensor.name for sensor in init.network.config.sensors]
        raise SchemaError(f"samples have the sensors {sorted(here)}, init has {names}.")
    for sensor in known:
        if lacking := sorted(set(sensor.bands) - set(here[sensor.name].bands)):
            raise SchemaError(
                f"samples have no bands {lacking} of {sensor.name!r}, which init needs (it has "
                f"{list(sensor.bands)}). Use samples with them, or train without init."
            )
    return known


def trees_of_init(init: Init | None, trees: Sequence[xr.DataTree]) -> list[xr.DataTree]:
    """The trees in the season window of ``init``, from whose start it counts days.

    Raises
    ------
    SchemaError
        A tree's season is not inside this window.
    """
    if init is None or init.season_window is None:
        return list(trees)
    for tree in trees:
        season = season_of(tree)
        whole = season.with_window(init.season_window)
        if season.start < whole.start or season.end > whole.end:
            raise SchemaError(
                f"samples span the season {season}, which is not inside that of init, "
                f"{window_text(init.season_window)}. Use samples of such a season, or train "
                "without init."
            )
    return [in_window(tree, init.season_window) for tree in trees]


def load_encoders(network: CropNetwork, init: Init | None) -> None:
    """Give a new network the weights and the normalisation of ``init``, where they fit.

    Layers before the classes keep their new weights.
    """
    if init is None:
        return
    if isinstance(init, PrestoWeights):
        cast("Presto", network.temporal[FUSED]).encoder.load_state_dict(init.weights)
        return
    own, given = network.state_dict(), init.network.state_dict()
    taken = {
        name: values
        for name, values in given.items()
        if not name.startswith(_CLASSIFIERS)
        and name in own
        and own[name].shape == values.shape
    }  # fmt: skip
    network.load_state_dict(own | taken)
