"""The labelled parcels of an evaluation, from one source of samples or several."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.errors import LabelError
from cubecrop.evaluation.series import series_digests
from cubecrop.model import season_of
from cubecrop.nomenclature import NODATA, Nomenclature
from cubecrop.sample import StoredSets
from cubecrop.training.sets import as_lists, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.training.sets import Labels, Samples, Source

__all__ = ["Population", "digest_of_tree"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Population:
    """Labelled parcels (parcel,) of all samples, in the order of samples and parcels.

    Parameters
    ----------
    sources : tuple
        Pixel sets in memory or on disk.
    source, row : numpy.ndarray
        (parcel,) which source a parcel is of, and its position there.
    ids : numpy.ndarray
        (parcel,) names; two sources may have the same ones.
    label : numpy.ndarray
        (parcel,) class index.
    group : numpy.ndarray
        (parcel,) name of the group; a parcel without a group has its id.
    region : numpy.ndarray
        (parcel,) name of the region, "" if none was given.
    year : numpy.ndarray
        (parcel,) harvest year.
    lon, lat : numpy.ndarray
        (parcel,) degrees; NaN for a parcel without a known place.
    area : numpy.ndarray
        (parcel,) square metres; NaN for a parcel without a known shape.
    nomenclature : Nomenclature
        The classes that occur.
    """

    sources: tuple[Source, ...]
    source: NDArray[np.int64]
    row: NDArray[np.int64]
    ids: NDArray[np.object_]
    label: NDArray[np.int64]
    group: NDArray[np.object_]
    region: NDArray[np.object_]
    year: NDArray[np.int64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    area: NDArray[np.float64]
    nomenclature: Nomenclature

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(
        cls,
        samples: Samples,
        labels: Labels,
        *,
        nomenclature: Nomenclature | None = None,
        regions: Labels | None = None,
    ) -> Population:
        """Collect the labelled parcels.

        Parameters
        ----------
        samples, labels, nomenclature
            As for `cubecrop.fit`. Parcels with a null label are left out.
        regions : sequence, or a sequence of sequences, optional
            The name of each parcel's region, in the form of ``labels``.

        Raises
        ------
        LabelError, SchemaError
            As for `cubecrop.fit`, or regions and parcels differ in number.
        """
        sources, texts = as_lists(samples, labels)
        names = [[""] * len(part) for part in texts]
        if regions is not None:
            try:
                names = [[text or "" for text in part] for part in as_lists(samples, regions)[1]]
            except LabelError as error:
                raise LabelError(f"regions: {error}") from None
        nomenclature = nomenclature or Nomenclature.from_labels(t for part in texts for t in part)
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _COLUMNS}
        for number, (source, own, of_region) in enumerate(zip(sources, texts, names, strict=True)):
            part = _columns(tree_of(source), number)
            part["label"] = np.array([nomenclature.index(text) for text in own], dtype=np.int64)
            part["region"] = np.array(of_region, dtype=object)
            used = part["label"] != NODATA
            for name, values in part.items():
                columns[name].append(values[used])
        joined = {name: np.concatenate(parts) for name, parts in columns.items()}
        if len(np.unique(joined["label"])) < 2:
            raise LabelError(
                f"labels hold the classes {nomenclature.names}, expected two or more in use."
            )
        return cls(sources=tuple(sources), nomenclature=nomenclature, **joined)

    def take(
        self, members: NDArray[np.int64]
    ) -> tuple[list[Source], list[list[str]], NDArray[np.int64]]:
        """Some parcels as samples and labels for `fit`.

        Parameters
        ----------
        members : numpy.ndarray
            Positions in the population.

        Returns
        -------
        tuple
            Samples and labels, one of each for every source that has members; and the positions
            (member,) in the order in which the samples have them.
        """
        samples: list[Source] = []
        labels: list[list[str]] = []
        order = []
        for number, source in enumerate(self.sources):
            own = members[self.source[members] == number]
            if len(own) == 0:
                continue
            rows = self.row[own]
            # The population's groups hold more than the samples know, such as neighbours.
            group = ("parcel", self.group[own])
            if isinstance(source, StoredSets):
                stored = source.take(rows)
                samples.append(replace(stored, root=stored.root.assign_coords(group=group)))
            else:
                tree = source.isel(parcel=rows)
                tree.dataset = tree.to_dataset().assign_coords(group=group)
                samples.append(tree)
            labels.append([self.nomenclature.names[i] for i in self.label[own]])
            order.append(own)
        return samples, labels, np.concatenate(order) if order else np.zeros(0, dtype=np.int64)

    def trees(
        self, members: NDArray[np.int64], n_pixels: int | None = None
    ) -> Iterator[tuple[xr.DataTree, NDArray[np.int64]]]:
        """Pixel sets in memory with their positions, some parcels at a time.

        ``n_pixels`` is that of `StoredSets.trees`; sets in memory keep their pixels.
        """
        samples, _, order = self.take(members)
        start = 0
        for source in samples:
            parts = source.trees(n_pixels) if isinstance(source, StoredSets) else [source]
            for tree in parts:
                stop = start + tree.sizes["parcel"]
                yield tree, order[start:stop]
                start = stop

    @cached_property
    def series(self) -> NDArray[np.object_]:
        """Text (parcel,) that is the same for exact copies of a series; reads the pixels once.

        A parcel without a valid pixel has "".
        """
        return series_digests(self.trees(np.arange(len(self))), len(self))

    def digest(self) -> str:
        """SHA-256 over labels, places and pixels; that of a store stands for its pixels."""
        hashed = hashlib.sha256(self.nomenclature.to_json().encode())
        for name in _COLUMNS[:-1]:  # the sources' own digests hold the areas
            values = getattr(self, name)
            if values.dtype == object:
                hashed.update(repr(values.tolist()).encode())
            else:
                hashed.update(values.tobytes())
        for source in self.sources:
            hashed.update(_identity(source).encode())
        return hashed.hexdigest()


_COLUMNS = ("source", "row", "ids", "label", "group", "region", "year", "lon", "lat", "area")


def _columns(tree: xr.DataTree, number: int) -> dict[str, NDArray[Any]]:
    n = tree.sizes["parcel"]
    ids = np.asarray(tree["parcel"], dtype=object)
    nowhere = np.full(n, np.nan)
    return {
        "source": np.full(n, number),
        "row": np.arange(n),
        "ids": ids,
        "group": np.asarray(tree["group"], dtype=object) if "group" in tree.coords else ids,
        "year": np.full(n, season_of(tree).year),
        "lon": np.asarray(tree["lon"], dtype=float) if "lon" in tree.coords else nowhere,
        "lat": np.asarray(tree["lat"], dtype=float) if "lat" in tree.coords else nowhere,
        "area": _areas(tree),
    }


def _areas(tree: xr.DataTree) -> NDArray[np.float64]:
    """Area (parcel,) in square metres; NaN without a shape."""
    if "geometry" not in tree or "area" not in tree["geometry"].coords.get("feature", ()):
        return np.full(tree.sizes["parcel"], np.nan)
    area = np.asarray(tree["geometry"].sel(feature="area"), dtype=float)
    return np.where(area > 0, area, np.nan)


def _identity(source: Source) -> str:
    """Text that differs between samples with different pixels."""
    if isinstance(source, StoredSets):
        return repr((source.digests, source.pieces.tolist()))
    return digest_of_tree(source)


def digest_of_tree(samples: xr.DataTree) -> str:
    """SHA-256 over all values of pixel sets in memory."""
    hashed = hashlib.sha256()
    for node in samples.subtree:
        for name, values in sorted(node.to_dataset(inherit=False).variables.items()):
            hashed.update(f"{node.path} {name} {values.dims} {values.dtype}".encode())
            array = np.asarray(values)
            content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
            hashed.update(content)
    return hashed.hexdigest()
