"""Fitting a network to pixel sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn

from cubecrop.errors import LabelError, SchemaError
from cubecrop.model import (
    CropModel,
    LateFusion,
    NetworkConfig,
    SensorConfig,
    Series,
    TrainingRecord,
    default_device,
    one_thread,
    season_of,
    sensor_arrays,
)
from cubecrop.nomenclature import NODATA, Nomenclature, label_text
from cubecrop.sample import hash_ids
from cubecrop.schema import SERIES, check_pixel_sets
from cubecrop.training.batches import TrainingSet, band_statistics, batches
from cubecrop.training.config import TrainConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["fit"]

#: Fewer steps than this do not settle a network, however few the parcels.
_LEAST_STEPS = 240
_LEAST_EPOCHS = 40

Samples = xr.DataTree | Sequence[xr.DataTree]


def fit(
    samples: Samples,
    labels: Sequence[object] | Sequence[Sequence[object]],
    *,
    nomenclature: Nomenclature | None = None,
    config: TrainConfig | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> CropModel:
    """Train a network on pixel sets; reads their pixels into memory.

    Parameters
    ----------
    samples : xarray.DataTree or sequence of them
        Pixel sets; see `cubecrop.schema`. Several (years, regions) may have different dates.
    labels : sequence, or a sequence of sequences
        A label a parcel, in the order of ``samples``. Parcels with a null label are left out.
    nomenclature : Nomenclature, optional
        Classes to learn; by default the labels that occur.
    config : TrainConfig, optional
        Settings.
    seed : int, default 0
        Same samples, labels, config and seed: same model, on the CPU.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card where there is one.
    progress : bool, default True
        Show a progress bar on a terminal.

    Returns
    -------
    CropModel
        In evaluation mode, on the CPU. Its scores are empty: judge it on parcels that were
        held out.

    Raises
    ------
    LabelError
        Fewer than two classes, labels of another length than the parcels.
    SchemaError
        Samples that do not fit together, or without a valid pixel of a sensor.
    """
    config = config or TrainConfig()
    trees, texts = _as_lists(samples, labels)
    names = _common_sensors(trees)
    nomenclature = nomenclature or Nomenclature.from_labels(t for part in texts for t in part)
    if len(nomenclature) < 2:
        raise LabelError(
            f"labels hold the classes {nomenclature.names}, expected two or more to tell apart."
        )
    sets = [
        _training_set(tree, part, names, nomenclature)
        for tree, part in zip(trees, texts, strict=True)
    ]
    with _seeded(seed), one_thread():
        network = _new_network(trees[0], names, nomenclature, config, sets)
        _optimise(network, sets, config, seed, device or default_device(), progress)
    return _as_model(network, trees, sets, nomenclature, config, seed)


def _as_lists(
    samples: Samples, labels: Sequence[object] | Sequence[Sequence[object]]
) -> tuple[list[xr.DataTree], list[list[str | None]]]:
    if isinstance(samples, xr.DataTree):
        samples, labels = [samples], [labels]
    if len(samples) != len(labels) or not samples:
        raise LabelError(f"{len(samples)} samples and {len(labels)} lists of labels do not pair.")
    texts = []
    for tree, part in zip(samples, labels, strict=True):
        check_pixel_sets(tree)
        found = [label_text(label) for label in part]  # type: ignore[attr-defined]
        if len(found) != tree.sizes["parcel"]:
            raise LabelError(
                f"{len(found)} labels for {tree.sizes['parcel']} parcels; give one a parcel, "
                "None where there is none."
            )
        texts.append(found)
    return list(samples), texts


def _common_sensors(trees: Sequence[xr.DataTree]) -> list[str]:
    seen = [tuple(name for name in SERIES if name in tree.children) for tree in trees]
    if len(set(seen)) != 1 or not seen[0]:
        raise SchemaError(
            f"samples have the sensors {seen}, expected the same in all, and at least one."
        )
    windows = {season_of(tree).window for tree in trees}
    if len(windows) != 1:
        raise SchemaError(f"samples span different season windows {windows}, expected one.")
    if len(steps := {str(tree.attrs.get("composite", "")) for tree in trees}) != 1:
        raise SchemaError(f"samples are composited by {sorted(steps)}, expected alike.")
    return list(seen[0])


def _training_set(
    tree: xr.DataTree,
    texts: Sequence[str | None],
    names: Sequence[str],
    nomenclature: Nomenclature,
) -> TrainingSet:
    """Load the labelled parcels that have a valid pixel."""
    index = np.array([nomenclature.index(text) for text in texts], dtype=np.int64)
    chosen = np.flatnonzero(index != NODATA)
    # In an order of their own, so that the order they came in changes no weight.
    ids = np.asarray(tree["parcel"])[chosen].tolist()
    chosen = chosen[np.argsort(hash_ids(ids, "training"), kind="stable")]
    part = tree.isel(parcel=chosen)
    arrays = sensor_arrays(part, names)
    used = np.zeros(len(chosen), dtype=bool)
    for one in arrays.values():
        used |= one.valid.any(axis=(1, 2))
    if "pixel_count" in tree.coords:
        counts = np.asarray(part["pixel_count"])
    else:
        counts = np.full(len(chosen), next(iter(arrays.values())).valid.shape[2])
    width = next(iter(arrays.values())).valid.shape[2]
    return TrainingSet(
        {
            name: replace(one, values=one.values[used], valid=one.valid[used])
            for name, one in arrays.items()
        },
        index[chosen][used],
        np.asarray(part["parcel"])[used].tolist(),
        np.minimum(counts, width)[used].astype(np.int64),
    )


def _new_network(
    tree: xr.DataTree,
    names: Sequence[str],
    nomenclature: Nomenclature,
    config: TrainConfig,
    sets: Sequence[TrainingSet],
) -> LateFusion:
    sensors = tuple(
        SensorConfig(name=name, bands=tuple(map(str, tree[name]["band"].to_numpy())))
        for name in names
    )
    network = LateFusion(
        NetworkConfig(
            sensors=sensors,
            n_classes=len(nomenclature),
            may_be_missing=config.may_be_missing,
        )
    )
    for name in names:
        try:
            mean, deviation = band_statistics(sets, name)
        except ValueError:
            raise SchemaError(
                f"no training parcel has a valid pixel of {name!r}; leave the sensor out with "
                "`modalities=`, or choose parcels within the archive."
            ) from None
        encoder = network.encoders[name]
        encoder.mean.copy_(torch.from_numpy(mean))  # type: ignore[operator]
        encoder.deviation.copy_(torch.from_numpy(deviation))  # type: ignore[operator]
    return network


def _optimise(
    network: LateFusion,
    sets: Sequence[TrainingSet],
    config: TrainConfig,
    seed: int,
    device: str,
    progress: bool,
) -> None:
    per_epoch = sum(math.ceil(len(one.labels) / config.batch_size) for one in sets)
    epochs = config.epochs or max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / max(per_epoch, 1)))
    network.to(device).train()
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    steps = epochs * per_epoch
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))),
    )
    loss_of = nn.CrossEntropyLoss(
        weight=_class_weights(sets, network.config.n_classes, config).to(device),
        label_smoothing=config.label_smoothing,
    )
    deviations = {
        name: encoder.deviation.cpu().numpy()  # type: ignore[operator]
        for name, encoder in network.encoders.items()
    }
    with _bar(progress) as bar:
        task = bar.add_task("Training", total=epochs)
        for epoch in range(epochs):
            for batch, truth in batches(sets, deviations, config, seed=seed, epoch=epoch):
                _step(network, batch, truth, loss_of, optimiser, device, config)
                schedule.step()
            bar.advance(task)
    network.cpu().eval()


def _step(
    network: LateFusion,
    batch: Mapping[str, Series],
    truth: Tensor,
    loss_of: nn.Module,
    optimiser: torch.optim.Optimizer,
    device: str,
    config: TrainConfig,
) -> None:
    moved = {
        name: Series(s.values.to(device), s.valid.to(device), s.days.to(device))
        for name, s in batch.items()
    }
    optimiser.zero_grad(set_to_none=True)
    loss = loss_of(network(moved), truth.to(device))
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    optimiser.step()


def _class_weights(sets: Sequence[TrainingSet], n_classes: int, config: TrainConfig) -> Tensor:
    labels = np.concatenate([one.labels for one in sets])
    counts = np.bincount(labels, minlength=n_classes)
    weights: NDArray[np.float64] = np.zeros(n_classes)
    weights[counts > 0] = counts[counts > 0] ** -config.class_balance
    # Scaled so that a parcel weighs one on average: the loss keeps its size.
    weights *= len(labels) / (weights * counts).sum()
    return torch.from_numpy(weights.astype(np.float32))


def _as_model(
    network: LateFusion,
    trees: Sequence[xr.DataTree],
    sets: Sequence[TrainingSet],
    nomenclature: Nomenclature,
    config: TrainConfig,
    seed: int,
) -> CropModel:
    first = trees[0]
    radar = first["sentinel1"] if "sentinel1" in network.encoders else None
    counts = np.bincount(np.concatenate([one.labels for one in sets]), minlength=len(nomenclature))
    orbits = (
        sorted({str(o) for tree in trees for o in tree["sentinel1"]["orbit_state"].to_numpy()})
        if radar is not None and all("orbit_state" in t["sentinel1"].coords for t in trees)
        else []
    )
    record = TrainingRecord(
        archives=tuple(dict.fromkeys(str(tree.attrs.get("archive", "")) for tree in trees)),
        years=tuple(sorted({season_of(tree).year for tree in trees})),
        bboxes=tuple(box for tree in trees if (box := _bbox(tree)) is not None),
        parcels=dict(zip(nomenclature.names, counts.tolist(), strict=True)),
        seed=seed,
        settings=config.to_dict(),
    )
    return CropModel(
        network=network,
        nomenclature=nomenclature,
        season_window=season_of(first).window,
        radar_calibration=(
            str(radar["backscatter"].attrs.get("calibration", "")) if radar is not None else ""
        ),
        radar_orbits=tuple(orbits),
        composite=str(first.attrs.get("composite", "")),
        n_pixels=config.n_pixels,
        training=record,
    )


def _bbox(tree: xr.DataTree) -> tuple[float, float, float, float] | None:
    if "lon" not in tree.coords or not np.isfinite(tree["lon"]).any():
        return None
    lon, lat = tree["lon"].to_numpy(), tree["lat"].to_numpy()
    west, east, south, north = (
        round(float(v), 4) for v in (np.nanmin(lon), np.nanmax(lon), np.nanmin(lat), np.nanmax(lat))
    )
    return west, south, east, north


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch within, and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _bar(progress: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        console=console,
        disable=not (progress and console.is_terminal),
    )
