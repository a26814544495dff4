"""`fit`: train a network on pixel sets."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from cubecrop.checks import brief, check_flag, check_folder, check_whole
from cubecrop.errors import LabelError, SchemaError
from cubecrop.model import (
    WEATHER,
    CropModel,
    CropNetwork,
    NetworkConfig,
    NetworkOptions,
    SensorConfig,
    one_thread,
    season_of,
    thermal_source,
    usable_device,
)
from cubecrop.nomenclature import NODATA, Nomenclature
from cubecrop.training.applicability import training_space
from cubecrop.training.averaging import run_averaged
from cubecrop.training.checkpoint import Checkpoint
from cubecrop.training.config import TrainConfig, as_config
from cubecrop.training.coverage import check_weather, coverage_of
from cubecrop.training.knowledge_limits import limits_of_sets
from cubecrop.training.loop import predict, seeded
from cubecrop.training.probability_calibration import calibrate
from cubecrop.training.sets import (
    AnySet,
    Labels,
    Samples,
    as_lists,
    band_statistics,
    feature_statistics,
    training_set,
    tree_of,
)
from cubecrop.training.starting import (
    Init,
    check_init,
    config_of_init,
    load_encoders,
    sensors_of_init,
    trees_of_init,
)
from cubecrop.training.together import as_one_season, sensors_together
from cubecrop.training.trained import trained_model, with_places_of, with_windows
from cubecrop.training.validation import split_validation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr

__all__ = ["check_fit_options", "fit"]


def fit(
    samples: Samples,
    labels: Labels,
    *,
    nomenclature: Nomenclature | None = None,
    config: TrainConfig | None = None,
    init: Init | None = None,
    seed: int = 0,
    device: str | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> CropModel:
    """Train a network on pixel sets; reads their pixels.

    Parameters
    ----------
    samples : xarray.DataTree, StoredSets or sequence of them
        Pixel sets; see `cubecrop.schema`. Those of a tree are read into memory; those of
        `cubecrop.sample.StoredSets` stay on disk, and batches are read from there. Several samples
        (years, regions, tables) may differ in dates, composites, season window and bands (the
        network takes the bands that all share), and may lack a sensor that may be missing.
        Parcels with the same value of the coordinate ``group`` stay together.
    labels : sequence, or a sequence of sequences
        One label per parcel, in the order of ``samples``. Parcels with a null label are left out.
    nomenclature : Nomenclature, optional
        Classes of the model; by default the labels that occur.
    config : TrainConfig, optional
        Settings.
    init : CropModel, Encoders or PrestoWeights, optional
        Start from the encoders of a model, such as ``CropModel.default()``, or from those that
        `cubecrop.training.pretrain` or `cubecrop.model.read_presto` gave, instead of from random
        weights. The network, its normalisation and its season are then those of ``init``; the
        classes are those of the labels, and the layers before them are new. Presto has no season
        and takes that of the samples; its own layers learn at a tenth of the learning rate.
    seed : int, default 0
        The same samples, labels, config and seed give the same model on the CPU.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if there is one.
    checkpoint : path, optional
        Folder for the state after each epoch and for ``metrics.csv``, one row per epoch. After an
        interruption the same call continues from there, and ends with the same weights.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    CropModel
        In evaluation mode, on the CPU. Its scores are empty; evaluate it on held-out parcels.
        Its probabilities are calibrated, and it knows the limits of its knowledge, if there are
        validation parcels.

    Raises
    ------
    LabelError
        There are fewer than two classes, or labels and parcels differ in number.
    SchemaError
        Samples do not fit together, or have no valid pixel of a sensor.
    OutputError
        ``checkpoint`` holds another training, or cannot be written.
    """
    check_init(init)
    config = config_of_init(init, as_config(config))
    check_fit_options(config=config, seed=seed, device=device, checkpoint=checkpoint,
                      progress=progress)  # fmt: skip
    if init is None and config.n_averaged > 1:
        raise LabelError(
            f"config.n_averaged is {config.n_averaged}, but trainings from random weights cannot "
            "be averaged. Pass a start, as in `init=CropModel.default()`, or leave n_averaged out."
        )
    if nomenclature is not None and not isinstance(nomenclature, Nomenclature):
        raise LabelError(
            f"nomenclature is {brief(nomenclature)}, expected a Nomenclature, as in "
            "`Nomenclature.from_names(['maize', 'wheat'])`."
        )
    sources, texts = as_lists(samples, labels)
    trees = [tree_of(source) for source in sources]
    sensors = sensors_of_init(init, sensors_together(trees, config.may_be_missing))
    nomenclature = nomenclature or Nomenclature.from_labels(t for part in texts for t in part)
    present = {nomenclature.index(text) for part in texts for text in part} - {NODATA}
    if len(present) < 2:
        raise LabelError(
            f"labels hold the classes {[nomenclature.names[i] for i in sorted(present)]}, expected "
            "two or more."
        )
    given, trees = trees, as_one_season(trees_of_init(init, trees), config.network)
    network_config = _network_config(trees, sensors, len(nomenclature), config)
    sets = [
        training_set(source, tree, part, network_config, nomenclature)
        for source, tree, part in zip(sources, trees, texts, strict=True)
    ]
    coverage = coverage_of(trees, sets, [sensor.name for sensor in sensors], config)
    device = usable_device(device)
    state = None
    if checkpoint is not None:
        state = Checkpoint(checkpoint, _origin(sets, nomenclature, config, init, seed, device))
    sets, validation = _split(sets, config, seed)
    with seeded(seed), one_thread():
        network = _new_network(network_config, sets)
        load_encoders(network, init)
        history = run_averaged(
            network,
            sets,
            validation,
            config,
            n_days=season_of(trees[0]).n_days,
            seed=seed,
            device=device,
            checkpoint=state,
            progress=progress,
        )
        predicted = predict(network, validation, device) if validation else None
        space = training_space(network, sets, n_pixels=config.n_pixels, seed=seed, device=device)
    model = trained_model(network, trees, sets, validation, nomenclature, config, seed, history)
    model = with_windows(with_places_of(model, init), given)
    model = replace(model, coverage=coverage, training_space=space)
    if predicted is None:
        return model
    model = model.with_calibration(calibrate(*predicted, alpha=config.alpha))
    if model.calibration is None or model.training_space is None:
        return model
    return model.with_limits(limits_of_sets(model, validation, seed=seed, device=device))


def check_fit_options(
    *,
    config: TrainConfig | None,
    seed: int,
    device: str | None,
    checkpoint: str | Path | None,
    progress: bool,
) -> None:
    """Raise unless the options of `fit` are valid; called before samples are read."""
    as_config(config)
    check_whole("seed", seed, minimum=0)
    usable_device(device)
    check_folder("checkpoint", checkpoint)
    check_flag("progress", progress)


def _origin(
    sets: Sequence[AnySet],
    nomenclature: Nomenclature,
    config: TrainConfig,
    init: Init | None,
    seed: int,
    device: str,
) -> dict[str, str]:
    """All that determines a training; a checkpoint stores it to recognise the same training."""
    return {
        "samples": ", ".join(part.digest() for part in sets),
        "nomenclature": nomenclature.to_json(),
        **{f"config.{name}": json.dumps(value) for name, value in config.to_dict().items()},
        "seed": str(seed),
        "device": device,
        "torch": str(torch.__version__),
        **({} if init is None else {"init": init.digest}),
    }


def _split(
    sets: Sequence[AnySet], config: TrainConfig, seed: int
) -> tuple[list[AnySet], list[AnySet]]:
    """Sets to train on, and validation sets with as many pixels as at prediction."""
    labels = np.concatenate([whole.labels for whole in sets])
    groups = [group for whole in sets for group in whole.groups]
    chosen = split_validation(labels, groups, config.validation, seed=seed)
    training: list[AnySet] = []
    validation: list[AnySet] = []
    stop = 0
    for whole in sets:
        start, stop = stop, stop + len(whole.labels)
        in_validation = chosen[start:stop]
        if not in_validation.any():
            training.append(whole)
            continue
        training.append(whole.take(np.flatnonzero(~in_validation)))
        part = whole.take(np.flatnonzero(in_validation))
        validation.append(part.drawn_once(config.n_pixels, seed))
    return training, validation


def _network_config(
    trees: Sequence[xr.DataTree],
    sensors: tuple[SensorConfig, ...],
    n_classes: int,
    config: TrainConfig,
) -> NetworkConfig:
    """Configuration from the options and the samples; raises if samples lack an input."""
    first, options = trees[0], config.network
    for child, needed in ((WEATHER, options.takes_weather), ("terrain", options.terrain)):
        lacking = [i for i, tree in enumerate(trees) if child not in tree.children]
        if needed and lacking:
            raise SchemaError(
                f"samples {lacking} have no {child!r}, which the network needs. Use an archive "
                "that has it, or other `NetworkOptions`."
            )
    if options.takes_weather:
        check_weather(trees, [sensor.name for sensor in sensors])
    if options.geometry and any("geometry" not in tree.data_vars for tree in trees):
        raise SchemaError(
            "samples have no 'geometry', which the network needs. Use "
            "`NetworkOptions(geometry=False)`."
        )
    features = [tree["geometry"].sizes["feature"] for tree in trees if options.geometry]
    if len(set(features)) > 1:
        raise SchemaError(
            f"samples have {features} features of a parcel's shape, expected the same number in "
            "all. Compute the same features, or use `NetworkOptions(geometry=False)`."
        )

    def variables(child: str) -> tuple[str, ...]:
        shared = set.intersection(*(set(t[child]["variable"].to_numpy().tolist()) for t in trees))
        return tuple(v for v in first[child]["variable"].to_numpy().tolist() if v in shared)

    start = season_of(first).start
    return NetworkConfig(
        **{f.name: getattr(options, f.name) for f in fields(NetworkOptions)},
        sensors=sensors,
        n_classes=n_classes,
        may_be_missing=config.may_be_missing,
        weather_variables=variables(WEATHER) if options.weather else (),
        terrain_variables=variables("terrain") if options.terrain else (),
        n_geometry=features[0] if options.geometry else 0,
        thermal_source=thermal_source(variables(WEATHER)) if options.needs_thermal_time else "",
        start_day=start.timetuple().tm_yday,
    )


def _new_network(config: NetworkConfig, sets: Sequence[AnySet]) -> CropNetwork:
    network = CropNetwork(config)
    for name in config.series:
        try:
            mean, deviation = band_statistics(sets, name)
        except ValueError:
            known = " on a date of known thermal time" if config.needs_thermal_time else ""
            raise SchemaError(
                f"no training parcel has a valid pixel of {name!r}{known}; leave the sensor out "
                "(`sensors=` of `train`, `modalities=` of `open_season`), or choose parcels and a "
                "season with valid observations of it."
            ) from None
        network.normalise_by(name, torch.from_numpy(mean), torch.from_numpy(deviation))
    parts = [
        feature_statistics([f for part in sets if (f := getattr(part, kind)) is not None])
        for kind, needed in (("geometry", config.geometry), ("terrain", config.terrain))
        if needed
    ]
    if parts:
        mean, deviation = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        network.normalise_by("extras", torch.from_numpy(mean), torch.from_numpy(deviation))
    return network
