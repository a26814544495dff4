"""The baseline to which every network is compared: a random forest on parcel means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.ensemble import RandomForestClassifier

from cubecrop.errors import LabelError, ModelMismatchError
from cubecrop.model import SensorArrays, season_of, sensor_arrays
from cubecrop.nomenclature import NODATA, Nomenclature
from cubecrop.sample import StoredSets, hash_ids
from cubecrop.training.sets import Labels, Samples, Source, as_lists, tree_of
from cubecrop.training.together import sensors_alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from cubecrop.season import Season

__all__ = ["Forest", "fit_forest", "parcel_means"]

#: Bands by sensor, in order.
Bands = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A random forest, its classes, and the bands and steps that it was trained on."""

    trees: RandomForestClassifier
    nomenclature: Nomenclature
    bands: Bands
    step: str
    n_features: int

    def predict_proba(self, samples: xr.DataTree) -> xr.DataArray:
        """Class probabilities of pixel sets; reads their pixels.

        Parameters
        ----------
        samples : xarray.DataTree
            Pixel sets of the same sensors, bands and season window as in training.

        Returns
        -------
        xarray.DataArray
            (parcel, crop) float32, coord ``crop`` = class names; 0 for a class without
            training parcels, NaN for a parcel without any valid pixel.

        Raises
        ------
        ModelMismatchError
            Sensors or bands are missing, or the season window differs.
        """
        features = parcel_means(samples, bands=self.bands, step=self.step)
        if features.shape[1] != self.n_features:
            raise ModelMismatchError(
                f"the season gives {features.shape[1]} features, the forest was trained on "
                f"{self.n_features}. Use the same season window."
            )
        known = np.isfinite(features).any(axis=1)
        out = np.full((len(features), len(self.nomenclature)), np.nan, dtype=np.float32)
        if known.any():
            out[known] = 0
            out[np.ix_(known, self.trees.classes_)] = self.trees.predict_proba(features[known])
        return xr.DataArray(
            out,
            dims=("parcel", "crop"),
            coords={"parcel": samples["parcel"], "crop": self.nomenclature.names},
            name="probability",
        )


def fit_forest(
    samples: Samples,
    labels: Labels,
    *,
    nomenclature: Nomenclature | None = None,
    n_trees: int = 300,
    seed: int = 0,
) -> Forest:
    """Train a random forest on parcel means; reads the pixels.

    Parameters
    ----------
    samples, labels, nomenclature, seed
        As for `cubecrop.fit`.
    n_trees : int, default 300
        Number of trees.

    Returns
    -------
    Forest
        The same parcels and seed give the same forest, in any order of the parcels.

    Raises
    ------
    LabelError, SchemaError
        As for `cubecrop.fit`.

    References
    ----------
    Breiman 2001, doi:10.1023/A:1010933404324.
    """
    sources, texts = as_lists(samples, labels)
    trees = [tree_of(source) for source in sources]
    names = sensors_alike(trees)
    nomenclature = nomenclature or Nomenclature.from_labels(t for part in texts for t in part)
    index = np.array([nomenclature.index(text) for part in texts for text in part])
    if len(np.unique(index[index != NODATA])) < 2:
        raise LabelError(f"labels hold the classes {nomenclature.names}, expected two or more.")
    bands = {name: tuple(map(str, trees[0][name]["band"].to_numpy())) for name in names}
    step = str(trees[0].attrs.get("composite", "")) or "month"
    parts = (part for source in sources for part in _trees(source))
    features = np.concatenate([parcel_means(part, bands=bands, step=step) for part in parts])
    used = np.flatnonzero((index != NODATA) & np.isfinite(features).any(axis=1))
    ids = [parcel for tree in trees for parcel in np.asarray(tree["parcel"]).tolist()]
    used = used[np.argsort(hash_ids([ids[i] for i in used], "forest"), kind="stable")]
    forest = RandomForestClassifier(n_trees, random_state=seed).fit(features[used], index[used])
    return Forest(
        trees=forest,
        nomenclature=nomenclature,
        bands=bands,
        step=step,
        n_features=features.shape[1],
    )


def _trees(source: Source) -> Iterable[xr.DataTree]:
    """Pixel sets in memory; those on disk come some parcels at a time."""
    return source.trees() if isinstance(source, StoredSets) else [source]


def parcel_means(tree: xr.DataTree, *, bands: Bands, step: str) -> NDArray[np.float64]:
    """Mean of each band over a parcel's valid pixels, by month or dekad of the season.

    Steps without a valid pixel are interpolated linearly. Before the first and after the last
    step with a valid pixel, its value is repeated.

    Parameters
    ----------
    tree : xarray.DataTree
        Pixel sets.
    bands : mapping of str to tuple of str
        Bands by sensor, in order.
    step : {"month", "dekad"}
        Steps of the season.

    Returns
    -------
    numpy.ndarray
        (parcel, feature); NaN for a sensor without any valid pixel.
    """
    for name, wanted in bands.items():
        present = tree[name]["band"].to_numpy() if name in tree.children else ()
        if missing := [band for band in wanted if band not in present]:
            raise ModelMismatchError(
                f"pixel sets have no bands {missing} of {name!r}, which the forest was trained on."
            )
    starts = _starts(season_of(tree), step)
    columns = []
    for name, arrays in sensor_arrays(tree, list(bands)).items():
        order = tree[name]["band"].to_numpy().tolist()
        series = _by_step(arrays, starts)[:, :, [order.index(band) for band in bands[name]]]
        columns.append(_interpolated(series).reshape(len(series), -1))
    return np.concatenate(columns, axis=1)


def _starts(season: Season, step: str) -> NDArray[np.float64]:
    """First day of each step, in days since the season's start; the first may be negative."""
    first = pd.Timestamp(season.start).replace(day=1)
    months = pd.date_range(first, season.end, freq="MS")
    days: Sequence[int] = (0, 10, 20) if step == "dekad" else (0,)
    starts = np.sort(np.concatenate([(months - pd.Timestamp(season.start)).days + d for d in days]))
    inside = starts[starts <= season.n_days - 1]
    return np.asarray(inside[np.searchsorted(inside, 0, side="right") - 1 :], dtype=np.float64)


def _by_step(arrays: SensorArrays, starts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the valid pixels of each step: (parcel, step, band), NaN if there are none."""
    values = np.where(arrays.valid[..., None], arrays.values, 0).sum(axis=2, dtype=np.float64)
    counts = arrays.valid.sum(axis=2)  # (parcel, time)
    which = np.clip(np.searchsorted(starts, arrays.days, side="right") - 1, 0, None)
    shape = (len(values), len(starts), values.shape[-1])
    total, n = np.zeros(shape), np.zeros(shape[:2])
    for step in np.unique(which):
        total[:, step] = values[:, which == step].sum(axis=1)
        n[:, step] = counts[:, which == step].sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / n[..., None])


def _interpolated(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill gaps in (parcel, step, band) along the steps by linear interpolation."""
    out = series.copy()
    steps = np.arange(series.shape[1])
    for row in np.flatnonzero(~np.isfinite(series).all(axis=(1, 2))):
        known = np.isfinite(series[row, :, 0])
        if known.any():
            for band in range(series.shape[2]):
                out[row, :, band] = np.interp(steps, steps[known], series[row, known, band])
    return out
