"""Training sets: pixel sets and labels as the arrays from which training draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cubecrop.checks import brief
from cubecrop.errors import LabelError, SchemaError
from cubecrop.model import WEATHER, SampleArrays, in_bands, sample_arrays, season_of
from cubecrop.nomenclature import NODATA, Nomenclature
from cubecrop.sample import StoredSets, draw_positions, hash_ids
from cubecrop.schema import check_pixel_sets
from cubecrop.texts import label_text
from cubecrop.training.stored import StoredTrainingSet, block_rows, stored_training_set

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.model import NetworkConfig

__all__ = [
    "AnySet",
    "Labels",
    "Samples",
    "Source",
    "StoredTrainingSet",
    "TrainingSet",
    "as_lists",
    "band_statistics",
    "feature_statistics",
    "training_set",
    "tree_of",
]

Source = xr.DataTree | StoredSets
Samples = Source | Sequence[Source]
Labels = Sequence[object] | Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Pixel sets with the same dates, and the class indices and ids of their parcels.

    ``arrays`` holds the network's inputs. ``drawn`` (parcel,) is the number of stored pixels that
    are not padding. ``groups`` has one name per parcel; parcels with the same name stay together.
    A parcel without a group has its id as name. For a training by probabilities, ``labels`` holds
    these, (parcel, class) float32.
    """

    arrays: SampleArrays
    labels: NDArray[np.int64]
    ids: Sequence[object]
    drawn: NDArray[np.int64]
    groups: Sequence[object] = ()

    def take(self, index: NDArray[np.int64]) -> TrainingSet:
        """Some of the parcels, by position."""
        return TrainingSet(
            self.arrays.take(index),
            self.labels[index],
            [self.ids[i] for i in index],
            self.drawn[index],
            [self.groups[i] for i in index] if self.groups else (),
        )

    @property
    def names(self) -> list[str]:
        """The satellite series, and weather if the network takes it."""
        return list(self.arrays.series)

    def days(self, name: str) -> NDArray[np.float32]:
        """Days (time,) of a series since the season's start."""
        return self.arrays.series[name].days

    def dated(self, name: str) -> NDArray[np.bool_]:
        """Which dates of a series have a valid pixel, (parcel, time)."""
        return self.arrays.series[name].dated

    @property
    def geometry(self) -> NDArray[np.float32] | None:
        """Features of the parcels' shapes, (parcel, feature)."""
        return self.arrays.geometry

    @property
    def terrain(self) -> NDArray[np.float32] | None:
        """Terrain of the parcels, (parcel, variable)."""
        return self.arrays.terrain

    def gather(self, members: NDArray[np.int64]) -> tuple[SampleArrays, NDArray[np.int64]]:
        """Arrays that hold some parcels (member,), and the rows (member,) of these."""
        return self.arrays, members

    def blocks(self, *_names: str) -> Iterator[SampleArrays]:
        """All parcels, a number at a time that does not depend on where they are stored."""
        sensors = [s for name, s in self.arrays.series.items() if name != WEATHER]
        step = block_rows([len(sensor.days) for sensor in sensors], sensors[0].valid.shape[2])
        for start in range(0, len(self.labels), step):
            yield self.arrays.take(slice(start, start + step))

    def drawn_once(self, n_pixels: int, seed: int) -> TrainingSet:
        """The same parcels with at most ``n_pixels`` drawn pixels each, as at prediction."""
        width = max(1, min(n_pixels, int(self.drawn.max(initial=1))))
        pixels = draw_positions(self.drawn, hash_ids(self.ids, seed, "validation"), width)
        row, column = np.arange(len(pixels))[:, None, None], pixels[:, None, :]
        series = dict(self.arrays.series)
        for name, sensor in series.items():
            if name == WEATHER:
                continue
            date = np.arange(len(sensor.days))[None, :, None]
            valid = sensor.valid[row, date, column] & (pixels >= 0)[:, None, :]
            series[name] = replace(sensor, values=sensor.values[row, date, column], valid=valid)
        arrays = replace(self.arrays, series=series)
        return replace(self, arrays=arrays, drawn=np.minimum(self.drawn, width))

    def digest(self) -> str:
        """SHA-256 over all that training uses."""
        hashed = hashlib.sha256(repr((list(self.ids), list(self.groups))).encode())
        arrays: list[NDArray[np.generic] | None] = []
        for name, sensor in self.arrays.series.items():
            hashed.update(name.encode())
            # Training does not use masked values, so they must not change the digest.
            values = np.where(sensor.valid[..., None], sensor.values, np.float32(0))
            arrays += [values, sensor.valid, sensor.days, sensor.thermal]
        for array in (*arrays, self.arrays.geometry, self.arrays.terrain):
            if array is not None:
                hashed.update(repr(array.shape).encode())
                hashed.update(np.ascontiguousarray(array).tobytes())
        hashed.update(self.labels.tobytes())
        hashed.update(self.drawn.tobytes())
        return hashed.hexdigest()


AnySet = TrainingSet | StoredTrainingSet


def tree_of(source: Source) -> xr.DataTree:
    """Pixel sets as a tree; those of `StoredSets` have no values."""
    return source.tree if isinstance(source, StoredSets) else source


def as_lists(samples: Samples, labels: Labels) -> tuple[list[Source], list[list[str | None]]]:
    """Samples and labels as lists, from one source or several; checks their lengths."""
    if isinstance(samples, Source):
        samples, labels = [samples], [labels]
    if not _is_list(samples) or not all(isinstance(source, Source) for source in samples):
        raise SchemaError(
            f"samples is {brief(samples)}, expected pixel sets, as from "
            "`cubecrop.sample_pixel_sets`, or a list of them."
        )
    if not _is_list(labels) or not all(_is_list(part) for part in labels):
        raise LabelError(
            f"labels is {brief(labels)}, expected a list with one label per parcel; for several "
            "samples, a list of such lists."
        )
    if len(samples) != len(labels) or not samples:
        raise LabelError(
            f"there are {len(samples)} samples and {len(labels)} lists of labels, expected one "
            "list per sample."
        )
    texts = []
    for source, part in zip(samples, labels, strict=True):
        tree = tree_of(source)
        check_pixel_sets(tree)
        if "parcel" not in tree.coords:
            raise SchemaError("samples have no coordinate 'parcel'; give each parcel an id.")
        # Elements of a DataArray or a Series are not plain labels; those of its array are.
        plain: Any = part.to_numpy() if hasattr(part, "to_numpy") else part
        labels_text = [label_text(label) for label in plain]
        if len(labels_text) != tree.sizes["parcel"]:
            raise LabelError(
                f"there are {len(labels_text)} labels for {tree.sizes['parcel']} parcels; pass one "
                "per parcel, None for a parcel without a label."
            )
        texts.append(labels_text)
    return list(samples), texts


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def training_set(
    source: Source,
    tree: xr.DataTree,
    texts: Sequence[str | None],
    config: NetworkConfig,
    nomenclature: Nomenclature,
) -> AnySet:
    """The labelled parcels that have a valid pixel; in memory, unless they are stored on disk.

    ``tree`` is that of the source, perhaps in another season window.
    """
    index = np.array([nomenclature.index(text) for text in texts], dtype=np.int64)
    chosen = np.flatnonzero(index != NODATA)
    # Sorted by hash, so that the order of the input does not change the weights.
    ids = np.asarray(tree["parcel"])[chosen].tolist()
    chosen = chosen[np.argsort(hash_ids(ids, "training"), kind="stable")]
    if isinstance(source, StoredSets):
        return stored_training_set(source.take(chosen), season_of(tree), index[chosen], config)
    part = in_bands(tree.isel(parcel=chosen), config)
    arrays = sample_arrays(part, config)
    used = np.zeros(len(chosen), dtype=bool)
    sensors = [sensor for name, sensor in arrays.series.items() if name != WEATHER]
    for sensor in sensors:
        used |= sensor.valid.any(axis=(1, 2))
    width = sensors[0].valid.shape[2]
    counts = np.asarray(part["pixel_count"]) if "pixel_count" in tree.coords else width
    ids = np.asarray(part["parcel"]).tolist()
    groups = np.asarray(part["group"]).tolist() if "group" in tree.coords else ids
    whole = TrainingSet(
        arrays,
        index[chosen],
        ids,
        np.minimum(np.broadcast_to(counts, len(ids)), width).astype(np.int64),
        groups,
    )
    return whole if used.all() else whole.take(np.flatnonzero(used))


def feature_statistics(
    features: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (feature,) over the parcels with known values."""
    values = np.concatenate(features).astype(np.float64)
    known = np.isfinite(values)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / n
    deviation = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / n)
    deviation[deviation < 1e-12] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def band_statistics(
    sets: Sequence[AnySet], sensor: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each band over all valid pixels."""
    n, mean, squares = 0, np.zeros(()), np.zeros(())
    for part in sets:
        if sensor not in part.names:
            continue
        for block in part.blocks(sensor):
            arrays = block.series[sensor]
            rows = arrays.values[arrays.valid]  # (pixel, band)
            if len(rows) == 0:
                continue
            # The moments of a block are added to those of all before it (Chan et al. 1983).
            columns = [rows[:, band].astype(np.float64) for band in range(rows.shape[1])]
            own = np.array([column.mean() for column in columns])
            squares = squares + [((c - m) ** 2).sum() for c, m in zip(columns, own, strict=True)]
            squares = squares + (own - mean) ** 2 * (n * len(rows) / (n + len(rows)))
            mean = mean + (own - mean) * (len(rows) / (n + len(rows)))
            n += len(rows)
    if n == 0:
        raise ValueError(sensor)
    deviation = np.sqrt(squares / n)
    # A constant band is not scaled.
    deviation[deviation < 1e-6] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)
