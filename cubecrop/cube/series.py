"""A series over a chunk as its files have it, and the values that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dask.array as da
import numpy as np
from dask.base import tokenize

from cubecrop.errors import SchemaError
from cubecrop.losses import READING, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cubecrop.cube.planes import Plane
    from cubecrop.losses import Loss

__all__ = ["UNSEEN", "Series", "lazy_values"]

#: Codes from here on say why a pixel shows no scene of a date: `Status` more than this.
UNSEEN: Final = 250
#: Linear power below which nothing is told apart: -50 dB, far under the noise of the
#: interferometric wide swath (-22 dB; ESA, Sentinel-1 Product Specification).
_FLOOR: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Dates of one modality over a chunk.

    Parameters
    ----------
    code : numpy.ndarray
        (time, y, x) uint8: which scene of a date a pixel shows, counted among those of the
        date; `UNSEEN` and more where it shows none.
    dates : sequence of sequence of int
        Scenes of each date, the preferred first.
    planes : sequence of sequence of Plane
        By scene and band; None where nothing was read, so that no pixel shows the scene.
    scale, offset : numpy.ndarray
        (scene, band) float64: a value is a number times the scale, and the offset.
    power : bool
        Whether values are linear power, to be told in decibel.
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
        # Dask asks this to know how much memory a worker holds.
        planes = [plane for scene in self.planes for plane in scene if plane is not None]
        return self.code.nbytes + sum(plane.values.nbytes for plane in planes)

    def values(self) -> NDArray[np.float32]:
        """All values: (time, band, y, x) float32, NaN where a pixel shows no scene."""
        from cubecrop.cube.unpack import paint

        out = np.empty(
            (len(self.dates), self.scale.shape[1], *self.code.shape[1:]), dtype=np.float32
        )
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
        """Write the values of some pixels.

        Parameters
        ----------
        rows, columns : numpy.ndarray
            (parcel, pixel) places in the chunk; a negative row is no pixel of it.
        out : numpy.ndarray
            (parcel, time, band, pixel) float32; places that show no scene are left as they are.
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
        """Number and index of the scenes that some pixel shows on a date."""
        for number, scene in enumerate(self.dates[step]):
            if self.planes[scene][0] is not None and (self.code[step] == number).any():
                yield number, scene


def in_decibel(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decibel of linear power, NaN where that is NaN."""
    out: NDArray[np.float32] = 10 * np.log10(np.maximum(power, _FLOOR))
    return out


def lazy_values(
    readings: da.Array,
    pack: Callable[..., Series],
    *,
    n_bands: int,
    **packing: Any,  # noqa: ANN401
) -> da.Array:
    """The values of a stack, (time, band, y, x) float32; see `cubecrop.losses.readings_of`.

    Parameters
    ----------
    readings : dask.array.Array
        (y, x) of `cubecrop.cube.planes.Reading`, as a backend gives them.
    pack : callable
        ``pack(reading, dates=..., ...)`` makes a `Series` of one.
    n_bands : int
        Bands of the series.
    **packing
        What ``pack`` is given; ``dates`` is scenes of each date.

    Raises
    ------
    SchemaError
        A date has more scenes than a `Series` can tell apart.
    """
    most = max(map(len, packing["dates"]))
    if most > UNSEEN:
        raise SchemaError(
            f"{most} scenes are of one date, expected {UNSEEN} at most. Take a smaller area."
        )
    token = tokenize(readings.name, pack, packing)
    series = da.map_blocks(
        pack, readings, **packing, dtype=object, meta=np.empty((0, 0), object),
        name=f"{READING}{token}",
    )  # fmt: skip
    values: da.Array = da.map_blocks(
        _values_of,
        series,
        new_axis=(0, 1),
        chunks=((len(packing["dates"]),), (n_bands,), *readings.chunks),
        dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), np.float32),
        name=f"{VALUES}{token}",
    )
    return values


def _values_of(series: Series) -> NDArray[np.float32]:
    return series.values()
