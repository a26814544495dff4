"""A satellite series over a chunk as stored in files, and its decoded values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from cubecrop.cube.recycled import Recycled
from cubecrop.errors import SchemaError
from cubecrop.lost_scenes import READING, VALUES, ValuesLayer, constant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask.delayed import Delayed
    from numpy.typing import DTypeLike, NDArray

    from cubecrop.cube.planes import Plane
    from cubecrop.lost_scenes import Loss

__all__ = ["UNSEEN", "DateStack", "in_strips", "lazy_stack", "lazy_values"]

#: Codes from here on mean that a pixel shows no scene of a date: `UNSEEN` plus a `Status`.
UNSEEN: Final = 250
#: Lower linear power is raised to this, -50 dB. It is far below the noise of the interferometric
#: wide swath (-22 dB; ESA, Sentinel-1 Product Specification).
_FLOOR: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class DateStack:
    """Dates of one modality over a chunk.

    Parameters
    ----------
    code : numpy.ndarray
        (time, y, x) uint8: the scene that a pixel shows on a date, as a position among the
        scenes of that date; `UNSEEN` or more if it shows none.
    dates : sequence of sequence of int
        Indices of the scenes of each date, the preferred first.
    planes : sequence of sequence of Plane
        By scene and band; None if nothing was read, so that no pixel shows the scene.
    scale, offset : numpy.ndarray
        (scene, band) float64: value = number * scale + offset.
    power : bool
        Whether values are linear power, to be converted to decibels.
    losses : tuple of Loss
        Scenes that could not be read.
    """

    code: NDArray[np.uint8]
    dates: Sequence[Sequence[int]]
    planes: Sequence[Sequence[Plane | None]]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    power: bool = False
    losses: tuple[Loss, ...] = ()

    def __sizeof__(self) -> int:
        # Dask calls this to measure how much memory a worker uses.
        planes = [plane for scene in self.planes for plane in scene if plane is not None]
        return self.code.nbytes + sum(plane.values.nbytes for plane in planes)

    def strip(self, start: int, stop: int) -> DateStack:
        """The stack of some rows of the chunk."""
        planes = [
            [None if plane is None else plane.strip(start, stop) for plane in scene]
            for scene in self.planes
        ]
        return replace(self, code=self.code[:, start:stop], planes=planes)

    def values(self, empty: Callable[..., NDArray[Any]] = np.empty) -> NDArray[np.float32]:
        """Decode all values: (time, band, y, x) float32, NaN where a pixel shows no scene.

        ``empty(shape, dtype)`` makes the array for them.
        """
        from cubecrop.cube.unpack import paint

        shape = len(self.dates), self.scale.shape[1], *self.code.shape[1:]
        out: NDArray[np.float32] = empty(shape, np.float32)
        for step in range(len(self.dates)):
            first = True
            for number, scene in self._shown(step):
                for band, plane in enumerate(self.planes[scene]):
                    if plane is not None:
                        paint(
                            out[step, band], plane.values, plane.factor, plane.top, plane.left,
                            self.scale[scene, band], self.offset[scene, band],
                            self.code[step], number, first,
                        )  # fmt: skip
                first = False
            if first:
                out[step] = np.nan
            elif self.power:
                out[step] = in_decibel(out[step])
        return out

    def gather(
        self, rows: NDArray[np.int32], columns: NDArray[np.int32], out: NDArray[np.float32]
    ) -> None:
        """Decode the values of some pixels into an array.

        Parameters
        ----------
        rows, columns : numpy.ndarray
            (parcel, pixel) places in the chunk; a negative row means "no pixel".
        out : numpy.ndarray
            (parcel, time, band, pixel) float32; where a pixel shows no scene it is not changed.
        """
        from cubecrop.cube.unpack import pick

        here = rows >= 0
        flat = np.where(here, rows * self.code.shape[2] + columns, 0)
        target = np.full(out.shape, np.nan, np.float32) if self.power else out
        index: dict[tuple[int, ...], NDArray[np.int64]] = {}
        for step, members in enumerate(self.dates):
            chosen = self.code[step].ravel()[flat]
            chosen[~here] = UNSEEN
            shown = np.bincount(chosen.ravel(), minlength=UNSEEN)
            for number, scene in enumerate(members):
                if not shown[number]:
                    continue
                for band, plane in enumerate(self.planes[scene]):
                    if plane is None:
                        continue
                    key = plane.factor, plane.top, plane.left, plane.values.shape[1]
                    if key not in index:
                        index[key] = np.where(here, plane.flat(rows, columns), 0)
                    pick(
                        target[:, step, band], plane.values.ravel(), index[key], chosen, number,
                        self.scale[scene, band], self.offset[scene, band],
                    )  # fmt: skip
        if self.power:
            np.copyto(out, in_decibel(target), where=here[:, None, None, :])

    def _shown(self, step: int) -> Iterator[tuple[int, int]]:
        """Position and index of the scenes of a date that at least one pixel shows."""
        for number, scene in enumerate(self.dates[step]):
            if self.planes[scene][0] is not None and (self.code[step] == number).any():
                yield number, scene


def in_decibel(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert linear power to decibels; NaN stays NaN."""
    out: NDArray[np.float32] = 10 * np.log10(np.maximum(power, _FLOOR))
    return out


def lazy_stack(
    readings: da.Array,
    pack: Callable[..., DateStack],
    *,
    dates: Sequence[Sequence[int]],
    **packing: Any,  # noqa: ANN401
) -> da.Array:
    """Turn the readings of a backend into `DateStack` objects, one per chunk, lazily.

    Parameters
    ----------
    readings : dask.array.Array
        (y, x) of `cubecrop.cube.planes.Reading`, from a backend.
    pack : callable
        ``pack(reading, dates=..., ...)`` makes a `DateStack` from a reading.
    dates : sequence of sequence of int
        Indices of the scenes of each date.
    **packing
        Further arguments of ``pack``.

    Returns
    -------
    dask.array.Array
        (y, x) of `DateStack`.

    Raises
    ------
    SchemaError
        A date has more scenes than codes can distinguish.
    """
    n_scenes = max(map(len, dates))
    if n_scenes > UNSEEN:
        raise SchemaError(
            f"a date has {n_scenes} scenes, expected at most {UNSEEN}. Take a smaller area."
        )
    token = tokenize(readings.name, pack, dates, packing)
    series: da.Array = da.map_blocks(
        pack, readings, dates=dates, **packing, dtype=object, meta=np.empty((0, 0), object),
        name=f"{READING}{token}",
    )  # fmt: skip
    return series


def lazy_values(series: da.Array, *, rows: tuple[int, ...], n_dates: int, n_bands: int) -> da.Array:
    """Decode a satellite series lazily; see `cubecrop.lost_scenes.readings_of`.

    Parameters
    ----------
    series : dask.array.Array
        (y, x) of `DateStack`.
    rows : tuple of int
        Lengths along y of the chunks of values; each lies within a chunk of ``series``.
    n_dates, n_bands : int
        Number of dates and bands.

    Returns
    -------
    dask.array.Array
        (time, band, y, x) float32.
    """
    token = tokenize(series.name, rows)
    memory = Recycled(len(rows) * series.numblocks[1])
    return in_strips(
        _values_of,
        series,
        rows=rows,
        lead=(n_dates, n_bands),
        dtype=np.float32,
        name=f"{VALUES}{token}",
        beside=constant(f"cubecrop-recycled-{token}", memory),
    )


def in_strips(
    function: Callable[..., NDArray[Any]],
    series: da.Array,
    *,
    rows: tuple[int, ...],
    lead: tuple[int, ...],
    dtype: DTypeLike,
    name: str,
    beside: Delayed | None = None,
) -> da.Array:
    """Apply a function to strips of rows of a satellite series, lazily, in one task a strip.

    Parameters
    ----------
    function : callable
        ``function(series)`` or ``function(series, beside)``, called with a `DateStack`.
    series : dask.array.Array
        (y, x) of `DateStack`.
    rows : tuple of int
        Lengths of the strips; each lies within a chunk of ``series``.
    lead : tuple of int
        Lengths of the dims before y and x.
    dtype, name
        Type and name of the result.
    beside : Delayed, optional
        A second argument of ``function``.

    Returns
    -------
    dask.array.Array
        (…, y, x).
    """
    tops, starts = (np.cumsum((0, *lengths))[:-1] for lengths in (series.chunks[0], rows))
    owners = np.searchsorted(tops, starts, side="right") - 1
    arguments = () if beside is None else (beside.key,)
    front = (0,) * len(lead)
    tasks: dict[Any, Any] = {}
    for number, (owner, start) in enumerate(zip(owners.tolist(), starts.tolist(), strict=True)):
        top = start - int(tops[owner])
        for column in range(series.numblocks[1]):
            key = (series.name, owner, column)
            tasks[(name, *front, number, column)] = (
                _of_strip, function, key, top, top + rows[number], *arguments,
            )  # fmt: skip
    dependencies: list[Any] = [series] if beside is None else [series, beside]
    graph = HighLevelGraph.from_collections(name, tasks, dependencies)
    layers = {**graph.layers, name: ValuesLayer(tasks, series.chunks)}
    return da.Array(
        HighLevelGraph(layers, graph.dependencies),
        name,
        chunks=(*((size,) for size in lead), rows, series.chunks[1]),
        dtype=dtype,
    )


def _of_strip(
    function: Callable[..., NDArray[Any]],
    series: DateStack,
    start: int,
    stop: int,
    *beside: Any,  # noqa: ANN401
) -> NDArray[Any]:
    return function(series.strip(start, stop), *beside)


def _values_of(series: DateStack, memory: Recycled) -> NDArray[np.float32]:
    return series.values(memory.empty)
