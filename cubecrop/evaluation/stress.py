"""Stress: test samples with fewer dates, fewer sensors, more noise or fewer pixels.

A model is not trained again for them. Masks change, and shapes do not, except that a sensor can be
taken away. The same seed removes more and more of the same dates as a level falls, so curves are
smooth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import xarray as xr

from cubecrop.errors import ArgumentError
from cubecrop.model import season_of
from cubecrop.sample import fewer_pixels, hash_ids
from cubecrop.sample.draw import mix
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["OTHER_CLOUDS", "STRESSES", "Stress", "Variant", "stressed", "variants"]

#: Days between the ends of early seasons.
_EARLY: Final = 30


@dataclass(frozen=True, slots=True)
class Variant:
    """A change of test samples: the name of a stress and its level."""

    stress: str
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """A kind of change.

    Parameters
    ----------
    change : callable
        Takes pixel sets in memory, the level, a seed and other pixel sets (or None); returns the
        changed sets, in which only masks and values differ.
    levels : tuple of float, or callable
        The usual levels, or a function of the pixel sets that gives them.
    axis : str
        What a level is, for the axis of a figure.
    child : str
        The child that is needed, "" for any.
    """

    change: Callable[[xr.DataTree, float, int, xr.DataTree | None], xr.DataTree]
    levels: tuple[float, ...] | Callable[[xr.DataTree], tuple[float, ...]]
    axis: str
    child: str = ""
    needs_others: bool = field(default=False)


def stressed(
    samples: xr.DataTree,
    stress: str,
    level: float = float("nan"),
    *,
    seed: int = 0,
    others: xr.DataTree | None = None,
) -> xr.DataTree:
    """Pixel sets under a stress.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets in memory.
    stress : str
        A name in `STRESSES`.
    level : float
        How much is left, added or changed; see the stress.
    seed : int, default 0
        Seed of dates and noise.
    others : xarray.DataTree, optional
        Pixel sets of another place, whose clouds are laid over the samples for ``"clouds of
        another place"``.

    Returns
    -------
    xarray.DataTree
        Changed pixel sets; the given ones are unchanged.

    Raises
    ------
    ArgumentError
        The stress is unknown, or needs a child or other samples that are missing.
    """
    if stress not in STRESSES:
        raise ArgumentError(f"stress is {stress!r}, expected one of {list(STRESSES)}.")
    kind = STRESSES[stress]
    if kind.child and kind.child not in samples.children:
        raise ArgumentError(
            f"{stress!r} needs {kind.child!r}; samples have {sorted(samples.children)}."
        )
    return kind.change(samples, level, seed, others)


def variants(
    samples: xr.DataTree, names: Sequence[str], *, others: xr.DataTree | None = None
) -> tuple[Variant, ...]:
    """The usual variants of some kinds of stress, for what the samples have."""
    out = []
    for name in names:
        kind = STRESSES[name]
        if (kind.child and kind.child not in samples.children) or (
            kind.needs_others and others is None
        ):
            continue
        levels = kind.levels(samples) if callable(kind.levels) else kind.levels
        out += [Variant(name, level) for level in levels]
    return tuple(out)


def _with(samples: xr.DataTree, **children: xr.Dataset) -> xr.DataTree:
    """The same pixel sets with other children in place of some."""
    nodes = {"/": samples.to_dataset()}
    for name in samples.children:
        node = children.get(name)
        nodes[name] = samples.children[name].to_dataset(inherit=False) if node is None else node
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def _masked(samples: xr.DataTree, sensor: str, kept: NDArray[np.bool_]) -> xr.DataTree:
    """Keep some dates of a sensor: ``kept`` is (parcel, time) or (time,)."""
    node = samples.children[sensor].to_dataset(inherit=False)
    dims = ("parcel", "time")[-kept.ndim :]
    valid = (node["valid"] & xr.DataArray(kept, dims=dims)).transpose(*node["valid"].dims)
    return _with(samples, **{sensor: node.assign(valid=valid)})


def _dated(samples: xr.DataTree, sensor: str) -> NDArray[np.bool_]:
    """Which dates have a valid pixel, (parcel, time)."""
    valid = samples[sensor]["valid"].transpose("parcel", "time", "pixel")
    return np.asarray(valid.to_numpy().any(axis=2))


def _at_random(sensor: str) -> Callable[..., xr.DataTree]:
    def change(samples: xr.DataTree, level: float, seed: int, _: object) -> xr.DataTree:
        dated = _dated(samples, sensor)
        ids = hash_ids(samples["parcel"].to_numpy().tolist(), "stress", sensor, seed)
        position = np.arange(dated.shape[1], dtype=np.uint64)
        keys = mix(ids[:, None] ^ mix(position)[None, :])
        keys = np.where(dated, keys, np.iinfo(np.uint64).max)
        rank = keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        n_kept = np.round(level * dated.sum(axis=1)).astype(int)
        return _masked(samples, sensor, rank < n_kept[:, None])

    return change


def _cloudiest_first(samples: xr.DataTree, level: float, _: int, __: object) -> xr.DataTree:
    """Keep the share of dates on which most parcels are clear."""
    clear = _dated(samples, "sentinel2").mean(axis=0)
    order = np.argsort(-clear, kind="stable")
    kept = np.zeros(len(clear), dtype=bool)
    kept[order[: round(level * int((clear > 0).sum()))]] = True
    return _masked(samples, "sentinel2", kept)


def _without_month(samples: xr.DataTree, level: float, _: int, __: object) -> xr.DataTree:
    months = pd.DatetimeIndex(samples["sentinel2"]["time"].to_numpy()).month
    return _masked(samples, "sentinel2", np.asarray(months != int(level)))


def _months(samples: xr.DataTree) -> tuple[float, ...]:
    months = pd.DatetimeIndex(samples["sentinel2"]["time"].to_numpy()).month
    return tuple(float(month) for month in dict.fromkeys(months))


def _clouds_of_others(
    samples: xr.DataTree, _: float, seed: int, others: xr.DataTree | None
) -> xr.DataTree:
    """Mask a date where a parcel of another place has none within half of the usual step."""
    if others is None or "sentinel2" not in others.children:
        raise ArgumentError(
            "'clouds of another place' needs optical pixel sets of another place: `others=`."
        )
    theirs = _dated(others, "sentinel2")
    own_days, their_days = _days(samples), _days(others)
    distance = np.abs(own_days[:, None] - their_days[None, :])
    reach = max(float(np.median(np.diff(np.unique(days)))) if len(days) > 1 else 0
                for days in (own_days, their_days)) / 2  # fmt: skip
    near = (distance <= reach).astype(np.float32)  # (own date, their date)
    seen = theirs.astype(np.float32) @ near.T > 0  # (donor, own date)
    ids = hash_ids(samples["parcel"].to_numpy().tolist(), "clouds", seed)
    donors = (ids % np.uint64(len(theirs))).astype(np.int64)
    return _masked(samples, "sentinel2", np.asarray(seen[donors]))


def _days(samples: xr.DataTree, child: str = "sentinel2") -> NDArray[np.float64]:
    """Days (time,) since the season's start."""
    start = np.datetime64(season_of(samples).start, "ns")
    times = samples[child]["time"].to_numpy().astype("datetime64[ns]")
    return np.asarray((times - start) / np.timedelta64(1, "D"))


def _without(sensor: str) -> Callable[..., xr.DataTree]:
    def change(samples: xr.DataTree, *_: object) -> xr.DataTree:
        others = {name for name in SERIES if name in samples.children} - {sensor}
        if not others:
            raise ArgumentError(f"samples have no sensor other than {sensor!r}.")
        nodes = {"/": samples.to_dataset()}
        nodes |= {
            name: samples.children[name].to_dataset(inherit=False)
            for name in samples.children
            if name != sensor
        }
        return xr.DataTree.from_dict(nodes, name="pixel_sets")

    return change


def _noise(sensor: str) -> Callable[..., xr.DataTree]:
    def change(samples: xr.DataTree, level: float, seed: int, _: object) -> xr.DataTree:
        node = samples.children[sensor].to_dataset(inherit=False)
        values = node[SERIES[sensor]]
        ids = hash_ids(samples["parcel"].to_numpy().tolist(), "noise", sensor, seed)
        shape = [values.sizes[dim] for dim in values.dims if dim != "parcel"]
        drawn = np.stack([np.random.default_rng(key).standard_normal(shape) for key in ids])
        dims = ("parcel", *(dim for dim in values.dims if dim != "parcel"))
        noise = xr.DataArray(drawn.astype(np.float32) * np.float32(level), dims=dims)
        changed = (values + noise).transpose(*values.dims).assign_attrs(values.attrs)
        return _with(samples, **{sensor: node.assign({SERIES[sensor]: changed})})

    return change


def _fewer_pixels(samples: xr.DataTree, level: float, *_: object) -> xr.DataTree:
    return fewer_pixels(samples, int(level))


def _pixels(samples: xr.DataTree) -> tuple[float, ...]:
    drawn = int(samples.attrs.get("n_pixels", 1))
    return tuple(float(n) for n in (1, 4, 16, 64, 256) if n < drawn)


def _until(samples: xr.DataTree, level: float, *_: object) -> xr.DataTree:
    """End all series at a day of the season, also the weather."""
    out = samples
    for name in (name for name in SERIES if name in samples.children):
        out = _masked(out, name, _days(samples, name) <= level)
    if "weather" in samples.children:
        weather = samples.children["weather"].to_dataset(inherit=False)
        out = _with(out, weather=weather.isel(time=_days(samples, "weather") <= level))
    return out


def _ends(samples: xr.DataTree) -> tuple[float, ...]:
    return tuple(float(day) for day in range(2 * _EARLY, season_of(samples).n_days, _EARLY))


#: The stress that needs samples of another place.
OTHER_CLOUDS: Final = "clouds of another place"
_SHARES: Final = (0.1, 0.2, 0.4, 0.6, 0.8)

#: All kinds of stress by name.
STRESSES: Final[Mapping[str, Stress]] = {
    "optical dates kept": Stress(
        change=_at_random("sentinel2"), levels=_SHARES, child="sentinel2",
        axis="share of each parcel's optical dates that is kept, at random",
    ),
    "clearest optical dates kept": Stress(
        change=_cloudiest_first, levels=_SHARES, child="sentinel2",
        axis="share of optical dates that is kept; the cloudiest go first",
    ),
    "optical month lost": Stress(
        change=_without_month, levels=_months, child="sentinel2",
        axis="month without optical dates",
    ),
    OTHER_CLOUDS: Stress(
        change=_clouds_of_others, levels=(float("nan"),), child="sentinel2", needs_others=True,
        axis="clouds of another place laid over",
    ),
    "radar dates kept": Stress(
        change=_at_random("sentinel1"), levels=_SHARES, child="sentinel1",
        axis="share of each parcel's radar dates that is kept, at random",
    ),
    "no optical": Stress(
        change=_without("sentinel2"), levels=(float("nan"),), child="sentinel2",
        axis="no optical series",
    ),
    "no radar": Stress(
        change=_without("sentinel1"), levels=(float("nan"),), child="sentinel1",
        axis="no radar series",
    ),
    "optical noise": Stress(
        change=_noise("sentinel2"), levels=(0.01, 0.02, 0.05), child="sentinel2",
        axis="standard deviation of noise added to reflectance, independent by pixel and band",
    ),
    "radar noise": Stress(
        change=_noise("sentinel1"), levels=(1.0, 2.0, 4.0), child="sentinel1",
        axis="standard deviation of noise added to backscatter, dB",
    ),
    "pixels": Stress(change=_fewer_pixels, levels=_pixels, axis="pixels a parcel"),
    "until day": Stress(
        change=_until, levels=_ends, axis="last day of all series, counted from the season's start",
    ),
}  # fmt: skip
