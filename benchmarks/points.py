"""Simulated points without images: one pixel a parcel, as extraction tables have them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from cubecrop.errors import SimulationError
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS, WEATHER_UNITS
from cubecrop.season import Season
from cubecrop.simulate.crops import CROPS
from cubecrop.simulate.draws import Purpose, stream
from cubecrop.simulate.growth import make_growth
from cubecrop.simulate.land import deal_rotations
from cubecrop.simulate.regions import find_region
from cubecrop.simulate.sentinel1 import ORBITS
from cubecrop.simulate.sentinel2 import CLOUD_SPECTRUM
from cubecrop.simulate.surface import Surface, sun_zenith
from cubecrop.simulate.weather import Ground, Weather, make_weather

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Region

__all__ = ["simulate_points"]

Calibration = Literal["gamma0", "sigma0"]

# Standard deviations of a spot's density: of its constant part, and of its change by date.
_SPOT, _MOMENT = 0.8, 0.45
# Equivalent looks of a pixel of 10 or 20 m of multilooked images.
_LOOKS = 5.0


def simulate_points(
    region: str,
    year: int,
    *,
    n: int = 1000,
    composite: Literal["month", "dekad"] | None = "month",
    season: Season | None = None,
    calibration: Calibration = "gamma0",
    cloudiness: float = 0.0,
    missed: float = 0.08,
    weather: Weather | None = None,
    seed: int = 0,
) -> xr.DataTree:
    """Simulate one pixel of each of many parcels of a region and year, without files.

    Weather, growth and radiative transfer are those of `simulate_archive`. There is no map: pixels
    have no neighbours, and cloud covers parcels independently, with the day's probability.

    Parameters
    ----------
    region : str
        As for `simulate_archive`.
    year : int
        Harvest year.
    n : int, default 1000
        Number of parcels.
    composite : {"month", "dekad"} or None, default "month"
        Step over which clear values are composited, as in extraction tables; None keeps the
        dates.
    season : Season, optional
        First and last day; by default ``Season(year)``.
    calibration : {"gamma0", "sigma0"}, default "gamma0"
        Radar calibration; sigma nought is gamma nought times the cosine of the incidence.
    cloudiness : float, default 0
        As for `simulate_archive`.
    missed : float, default 0.08
        Share of the cloud, 0 to 1, that the cloud mask missed and that stays in the values;
        about 0.5 in tables whose composites were made with a poor mask.
    weather : Weather, optional
        Weather from two years before ``year`` to one year after; by default `make_weather`
        draws it.
    seed : int, default 0
        Seed of all random numbers, 0 or more.

    Returns
    -------
    xarray.DataTree
        Pixel sets of one pixel (see `cubecrop.schema`): ``sentinel2/reflectance (parcel, time,
        band, pixel)`` unit 1 and ``sentinel1/backscatter`` dB, NaN where missing, with
        ``valid``; ``weather/weather (parcel, time, variable)`` in K, mm d-1 and J m-2 d-1.
        The root has ``label (parcel)``, the true crop's name, and the coord ``parcel``.

    Raises
    ------
    AoiError
        There is no such region.
    SeasonError
        The year is out of range.
    SimulationError
        ``n``, ``seed`` or ``missed`` is out of range, or there is no such calibration.
    """
    where, window = find_region(region), season or Season(year)
    if n < 1 or seed < 0 or not 0 <= missed <= 1:
        raise SimulationError(
            f"n is {n}, seed is {seed} and missed is {missed}, expected n of 1 or more, seed of "
            "0 or more, and missed from 0 to 1."
        )
    if calibration not in ("gamma0", "sigma0"):
        raise SimulationError(
            f"calibration is {calibration!r}, expected 'gamma0' or 'sigma0', as in "
            "`simulate_points('flanders', 2018, calibration='sigma0')`."
        )
    if weather is None:
        weather = make_weather(where, year - 2, year + 1, seed=seed, cloudiness=cloudiness)
    ground = Ground.from_weather(weather)
    crops = deal_rotations(where, n, (year - 1, year, year + 1), seed=seed)
    rng = stream(Purpose.POINTS, seed, where.index, year)
    elevation = where.elevation + where.relief * rng.standard_normal(n)
    growth = make_growth(where, weather, ground, crops, elevation, seed=seed)
    surface = Surface.make(where, weather, ground, growth, covers=0, seed=seed)
    days = [window.start + dt.timedelta(i) for i in range(window.n_days)]
    optical = _optical(where, weather, surface, days, rng, missed)
    radar = _radar(weather, surface, days, rng, calibration)
    root = xr.Dataset(
        {"label": ("parcel", np.array([CROPS[i].name for i in crops[year]], dtype=object))},
        coords={
            "parcel": [f"{region}-{year}-{seed}-{i}" for i in range(n)],
            "lon": ("parcel", where.lon + 0.3 * rng.random(n)),
            "lat": ("parcel", where.lat - 0.2 * rng.random(n)),
            "pixel_count": ("parcel", np.ones(n, dtype=np.int64)),
        },
        attrs={
            "season_year": year,
            "season_start": str(window.start),
            "season_end": str(window.end),
            "archive": f"simulated points of {region}, seed {seed}",
            "items": [],
            "item_hrefs": [],
            "n_pixels": 1,
            "seed": seed,
        },
    )
    nodes = {
        "/": root,
        "sentinel2": _node(*optical, "reflectance", SENTINEL2_BANDS, composite, window),
        "sentinel1": _node(*radar, "backscatter", SENTINEL1_BANDS, composite, window),
        "weather": _weather(weather, days, n, composite, window),
    }
    nodes["sentinel2"]["reflectance"].attrs = {"units": "1"}
    nodes["sentinel1"]["backscatter"].attrs = {"units": "dB", "calibration": calibration}
    if composite is not None:
        root.attrs["composite"] = composite
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def _optical(
    region: Region,
    weather: Weather,
    surface: Surface,
    days: list[dt.date],
    rng: np.random.Generator,
    share: float,
) -> tuple[list[dt.date], NDArray[np.float32]]:
    """Simulate dates and reflectance (parcel, time, band), NaN under cloud that the mask finds."""
    dates = [day for day in days if day.toordinal() % 5 == 2]
    n = surface.soil.shape[0]
    spot = np.float32(_SPOT) * rng.standard_normal(n, dtype=np.float32)
    values = np.empty((n, len(dates), 10), dtype=np.float32)
    for k, date in enumerate(dates):
        day = weather.day(date)
        thin, usual, dense = np.moveaxis(
            surface.reflectance(day, sun_zenith(region.lat, date.timetuple().tm_yday)), 1, 0
        )
        moment = np.float32(_MOMENT) * rng.standard_normal(n, dtype=np.float32)
        here = np.asarray(np.clip(spot + moment, -2, 2))[:, None]
        image = usual + here.clip(0) * (dense - usual) - here.clip(None, 0) * (thin - usual)
        image = image * (1 + rng.normal(0, 0.018) + rng.normal(0, 0.015, (n, 10)))
        image += rng.normal(0, 0.006, (n, 1)) * np.linspace(1.4, 0.2, 10)
        cloud = weather.cloud[day]
        covered = rng.random(n) < cloud
        # The mask misses thin cloud more often than thick cloud, and also some shadow.
        missed = rng.random(n) < share
        veil = np.where(covered & missed, rng.beta(1.0, 2.0, n), 0.0)[:, None]
        image = image * (1 - veil) + veil * 0.5 * CLOUD_SPECTRUM
        shade = np.where(~covered & (rng.random(n) < 0.03 * cloud), rng.uniform(0.4, 0.8, n), 1.0)
        image = image * shade[:, None]
        values[:, k] = np.where((covered & ~missed)[:, None], np.nan, image)
    return dates, values


def _radar(
    weather: Weather,
    surface: Surface,
    days: list[dt.date],
    rng: np.random.Generator,
    calibration: Calibration,
) -> tuple[list[dt.date], NDArray[np.float32]]:
    passes = [
        (day, orbit) for day in days for orbit in ORBITS if day.toordinal() % 12 == orbit.phase
    ]
    n = surface.soil.shape[0]
    values = np.empty((n, len(passes), 2), dtype=np.float32)
    for k, (date, orbit) in enumerate(passes):
        power = surface.backscatter(
            weather.day(date), incidence=orbit.incidence, heading=orbit.heading
        )
        if calibration == "sigma0":
            power = power * np.cos(np.radians(orbit.incidence))
        speckle = rng.standard_gamma(_LOOKS, power.shape) / _LOOKS
        values[:, k] = 10 * np.log10(power * speckle)
    return [date for date, _ in passes], values


def _node(
    dates: list[dt.date],
    values: NDArray[np.float32],
    variable: str,
    bands: tuple[str, ...],
    composite: str | None,
    window: Season,
) -> xr.Dataset:
    time = np.array(dates, dtype="datetime64[D]")
    if composite is not None:
        step, time = _steps(time, composite, window)
        parts = [values[:, step == i] for i in range(time.size)]
        values = np.stack([_reduce(part, variable) for part in parts], axis=1)
    sets = values[..., None].astype(np.float32)  # (parcel, time, band, pixel)
    return xr.Dataset(
        {
            variable: (("parcel", "time", "band", "pixel"), sets),
            "valid": (("parcel", "time", "pixel"), np.isfinite(sets).all(axis=2)),
        },
        coords={"time": time.astype("datetime64[ns]"), "band": list(bands)},
    )


def _reduce(part: NDArray[np.float32], variable: str) -> NDArray[np.float32]:
    """Reduce over time: median of reflectance, mean of radar power in dB; NaN where all are."""
    some: NDArray[np.bool_] = np.isfinite(part[:, :, 0]).sum(axis=1) > 0
    if part.shape[1] == 0:
        return np.full((part.shape[0], part.shape[2]), np.nan, dtype=np.float32)
    filled = np.where(some[:, None, None], part, 0)
    if variable == "reflectance":
        reduced = np.nanmedian(filled, axis=1)
    else:
        reduced = 10 * np.log10(np.nanmean(10 ** (filled / 10), axis=1))
    return np.where(some[:, None], reduced, np.nan).astype(np.float32)


def _steps(
    time: NDArray[np.datetime64], composite: str, window: Season
) -> tuple[NDArray[np.int64], NDArray[np.datetime64]]:
    """Find the step of each date, and the middle day of each step of the window."""
    days = np.arange(
        np.datetime64(window.start), np.datetime64(window.end) + np.timedelta64(1, "D")
    )

    def number(day: NDArray[np.datetime64]) -> NDArray[np.int64]:
        month = day.astype("datetime64[M]")
        count = month.astype(np.int64)
        if composite == "month":
            return count
        third = ((day - month.astype("datetime64[D]")).astype(np.int64) // 10).clip(0, 2)
        return np.asarray(count * 3 + third)

    labels = number(days)
    steps = np.unique(labels)
    middle = np.array([days[labels == s][(labels == s).sum() // 2] for s in steps])
    return np.asarray(np.searchsorted(steps, number(time))), middle


def _weather(
    weather: Weather, days: list[dt.date], n: int, composite: str | None, window: Season
) -> xr.Dataset:
    first, last = weather.day(days[0]), weather.day(days[-1]) + 1
    series = np.stack(
        [
            weather.mean[first:last] + 273.15,
            weather.low[first:last] + 273.15,
            weather.high[first:last] + 273.15,
            weather.rain[first:last],
            weather.sun[first:last],
        ],
        axis=1,
    )
    names = [
        "temperature_mean", "temperature_min", "temperature_max", "precipitation",
        "solar_radiation",
    ]  # fmt: skip
    time = np.array(days, dtype="datetime64[D]")
    count = np.ones(time.size, dtype=np.int64)
    if composite is not None:
        step, time = _steps(time, composite, window)
        count = np.bincount(step, minlength=time.size)
        series = np.stack([series[step == i].mean(axis=0) for i in range(time.size)])
    values = np.broadcast_to(series.astype(np.float32), (n, *series.shape)).copy()
    return xr.Dataset(
        {"weather": (("parcel", "time", "variable"), values)},
        coords={
            "time": time.astype("datetime64[ns]"),
            "step_days": ("time", count),
            "variable": names,
            "units": ("variable", [WEATHER_UNITS[name] for name in names]),
        },
    )
