"""Daily weather of the simulated archive, and the soil water, snow and frost that result."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import xarray as xr
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri

from cubecrop.simulate.draws import Purpose, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.simulate.regions import Grid, Region

__all__ = [
    "Ground",
    "Weather",
    "daylength",
    "growing_degree_days",
    "make_weather",
    "monthly_course",
]

# Persistence of daily temperature; AgERA5 of Flanders, 2017-2018, has 0.72 about a 31-day mean.
_PERSISTENCE = 0.76
# After a wet day, the probability of another is higher by this than after a dry day
# (Richardson 1981, Water Resources Research 17, 182-190, finds 0.2 to 0.35).
_WET_PERSISTENCE = 0.3
# Shape of the gamma distribution of rain amounts (Wilks 1999, Agric. For. Meteorol. 93, 153-169).
_RAIN_SHAPE = 0.75
# K m-1: 6.5 K km-1 of the standard atmosphere (FAO-56, Allen et al. 1998).
LAPSE: Final = 0.0065

_ATTRS: Final = {
    "temperature_mean": ("K", "air_temperature", "2 m temperature, 24 h mean"),
    "temperature_min": ("K", "air_temperature", "2 m temperature, 24 h minimum"),
    "temperature_max": ("K", "air_temperature", "2 m temperature, 24 h maximum"),
    "precipitation_flux": ("mm d-1", "lwe_precipitation_rate", "precipitation of the day"),
    "solar_radiation_flux": ("J m-2 d-1", "", "downwelling shortwave radiation of the day"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Daily weather of one region, float64 (day,).

    ``mean``, ``low``, ``high`` in degree Celsius, ``rain`` in mm d-1, ``sun`` in J m-2 d-1,
    ``cloud`` a share from 0 to 1, ``daylength`` in hours.
    """

    start: dt.date
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rain: NDArray[np.float64]
    sun: NDArray[np.float64]
    cloud: NDArray[np.float64]
    daylength: NDArray[np.float64]

    def day(self, date: dt.date) -> int:
        """Index of a date."""
        return (date - self.start).days

    @property
    def day_of_year(self) -> NDArray[np.int64]:
        """Day of the year of each day, from 1."""
        day = np.datetime64(self.start) + np.arange(self.mean.size)
        return (day - day.astype("datetime64[Y]").astype(day.dtype)).astype(np.int64) + 1

    def to_dataset(self, region: Region, grid: Grid, start: dt.date, end: dt.date) -> xr.Dataset:
        """Spread the weather over cells of 0.1 degree that differ a little; names as in AgERA5."""
        first, last = self.day(start), self.day(end) + 1
        centre, (west, _, east, _) = grid.footprint.centroid, grid.footprint.bounds
        reach = max(1, int(np.ceil((east - west) / 0.2)))
        steps = np.arange(-reach, reach + 1) / 10
        n = steps.size
        rng = stream(Purpose.WEATHER, 99, region.index)
        cell, spread = rng.normal(0, 0.2, (n, n)), rng.uniform(0.9, 1.1, (n, n))
        fields = {
            "temperature_mean": self.mean[first:last, None, None] + 273.15 + cell,
            "temperature_min": self.low[first:last, None, None] + 273.15 + cell,
            "temperature_max": self.high[first:last, None, None] + 273.15 + cell,
            "precipitation_flux": self.rain[first:last, None, None] * spread,
            "solar_radiation_flux": self.sun[first:last, None, None] * (1 + 0.02 * cell),
        }
        dims = ("time", "latitude", "longitude")
        weather = xr.Dataset(
            {name: (dims, values.astype(np.float32)) for name, values in fields.items()},
            coords={
                "time": pd.date_range(start, end, freq="D"),
                "latitude": np.round(np.round(centre.y, 1) - steps, 1),
                "longitude": np.round(np.round(centre.x, 1) + steps, 1),
            },
            attrs={"Conventions": "CF-1.11", "title": "Simulated daily weather, names of AgERA5"},
        )
        for name, (units, standard_name, long_name) in _ATTRS.items():
            standard = {"standard_name": standard_name} if standard_name else {}
            weather[name].attrs = {"units": units, **standard, "long_name": long_name}
        weather["latitude"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
        weather["longitude"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
        weather["time"].attrs = {"standard_name": "time"}
        return weather


def make_weather(
    region: Region, first_year: int, last_year: int, *, seed: int, cloudiness: float = 0.0
) -> Weather:
    """Draw daily weather of whole calendar years.

    Temperature is a yearly course plus departures that persist (first-order autoregression),
    with warm and cold years and springs. Rain is a Markov chain of wet days with gamma amounts.
    Cloud depends on the wet days and persists; it sets radiation and the daily range.

    Parameters
    ----------
    region : Region
        Region that gives the climate.
    first_year, last_year : int
        Calendar years, both included. A year's weather depends on the seed, the region and the
        year; persistence carries over a few weeks from the year before.
    seed : int
        Seed of the random numbers.
    cloudiness : float, default 0
        Shift of the cloud's latent normal variable; 0.7 makes about 20 % more cloud.

    Returns
    -------
    Weather

    References
    ----------
    Rain: Richardson 1981, Water Resources Research 17, 182-190. Radiation under clear and cloudy
    sky: FAO-56 (Allen et al. 1998), equations 21, 35 and 37.
    """
    years = range(first_year, last_year + 1)
    days = [366 if _leap(year) else 365 for year in years]
    doy = np.concatenate([np.arange(1, n + 1) for n in days])
    kicks, offsets, wetness, chances, amounts, veils, regimes, swings = ([] for _ in range(8))
    for year, n in zip(years, days, strict=True):
        rng = stream(Purpose.WEATHER, seed, region.index, year)
        # Years differ by 0.7 K, springs by nearly 2 K and summers by more than 1 K (E-OBS,
        # Flanders, 1991 to 2020: March to April had means from 5.4 to 11.2 degree Celsius).
        warm, spring, late = rng.normal(0, (0.7, 1.7, 1.1))
        day = np.arange(n)
        offsets.append(warm + spring * _bump(day, 85, 40) + late * _bump(day, 200, 45))
        wetness.append(np.full(n, rng.normal(0, 0.035)) + rng.normal(0, 0.05) * _bump(day, 190, 50))
        kicks.append(rng.standard_normal(n))
        chances.append(rng.random(n))
        amounts.append(rng.standard_gamma(_RAIN_SHAPE, n))
        veils.append(rng.standard_normal(n))
        regimes.append(rng.standard_normal(n))
        swings.append(rng.uniform(0.75, 1.25, n))
    course = monthly_course(region.temperature, doy)
    season = 0.5 - 0.5 * np.cos(2 * np.pi * (doy - 20) / 365.25)  # 0 in January, 1 in July
    spread = region.departure[0] + (region.departure[1] - region.departure[0]) * season
    # Weather regimes of one to three weeks make dry and wet, clear and grey spells.
    regime = _persistent(np.concatenate(regimes), 0.93)
    share = monthly_course(region.wet_days, doy) + np.concatenate(wetness)
    share = ndtr(ndtri(share.clip(0.03, 0.9)) * np.sqrt(1.25) + 0.5 * regime)
    wet = _markov(share, np.concatenate(chances))
    # Rainy days are cooler in summer and warmer in winter.
    departure = spread * _persistent(np.concatenate(kicks), _PERSISTENCE)
    mean = course + np.concatenate(offsets) + departure + np.where(wet, 1.0 - 2.4 * season, 0.0)
    rain = np.where(wet, 1.0 + (region.rain - 1.0) / _RAIN_SHAPE * np.concatenate(amounts), 0.0)
    # These give the shares of clear and overcast days in Flanders' archive of 2017 to 2018.
    veil = _persistent(np.concatenate(veils), 0.35)
    grey = np.where(wet, 0.9, -0.6) + 0.5 * (1 - season) + 0.85 * regime + 0.6 * veil
    cloud = ndtr(grey + cloudiness)
    clear = 0.76 * _top_of_atmosphere(region.lat, doy)
    sun = clear * (1 - 0.72 * cloud**1.5)
    swing = np.concatenate(swings) * (2.0 + (2.6 + 1.9 * season) * (1 - 0.65 * cloud))
    return Weather(
        start=dt.date(first_year, 1, 1),
        mean=mean,
        low=mean - swing,
        high=mean + swing,
        rain=rain,
        sun=sun,
        cloud=cloud,
        daylength=daylength(region.lat, doy),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """State of the ground by day, float64 (day,), for one region.

    ``moisture`` of the top 5 cm is in m3 m-3; ``stress`` is from 0 (dry root zone) to 1 (none);
    ``snow`` is the share of the ground under snow; ``frozen`` is bool; ``killed`` is the share
    of the leaves that frost killed and that have not grown again; ``cured`` is the share of the
    leaves of annual grasses that drought killed and that rain has not brought back.
    """

    moisture: NDArray[np.float64]
    stress: NDArray[np.float64]
    snow: NDArray[np.float64]
    frozen: NDArray[np.bool_]
    killed: NDArray[np.float64]
    cured: NDArray[np.float64]

    @classmethod
    def from_weather(cls, weather: Weather) -> Ground:
        """Run a water balance of two soil layers and snow.

        Evaporation follows Hargreaves' shape with radiation (Hargreaves & Samani 1985), snow a
        degree-day factor of 3.5 mm K-1 d-1 (Hock 2003, J. Hydrol. 282, 104-115). The top layer
        holds 0.06 to 0.38 m3 m-3, as loam from dry to field capacity; the root zone 120 mm.
        """
        n = weather.mean.size
        moisture, stress, snow = np.empty(n), np.empty(n), np.empty(n)
        top, root, pack = 12.0, 100.0, 0.0
        # Evaporative demand, mm d-1; 0.408 turns MJ m-2 d-1 into mm.
        demand = 0.0135 * 0.408e-6 * weather.sun * (weather.mean + 17.8).clip(0) * 1.05
        for i in range(n):
            fall = weather.rain[i]
            solid = fall if weather.mean[i] < 0.5 else 0.0
            melt = min(pack + solid, 3.5 * max(weather.mean[i], 0.0))
            pack += solid - melt
            water = fall - solid + melt
            top = min(top + water, 18.0)
            top -= min(top, 0.55 * demand[i] * (top / 18.0) + 0.03 * top)
            root = min(root + water, 120.0)
            root -= min(root, 0.9 * demand[i] * min(1.0, root / 70.0))
            moisture[i] = 0.06 + 0.32 * top / 18.0
            stress[i] = min(1.0, root / 45.0)
            snow[i] = pack / (pack + 8.0)
        cold = lfilter([0.25], [1, -0.75], weather.mean)
        return cls(
            moisture=moisture, stress=stress, snow=snow, frozen=cold < -1.5,
            killed=_killed(weather.mean, cold), cured=_cured(weather.mean, stress),
        )  # fmt: skip


def _killed(mean: NDArray[np.float64], cold: NDArray[np.float64]) -> NDArray[np.float64]:
    killed, now = np.empty(mean.size), 0.0
    for i in range(mean.size):
        now += 0.12 * (1 - now) * float(np.clip((-1.0 - cold[i]) / 4, 0, 1))
        # New leaves take about 250 K d above 4 degree Celsius.
        now = max(0.0, now - max(mean[i] - 4.0, 0.0) / 250)
        killed[i] = now
    return killed


def _cured(mean: NDArray[np.float64], stress: NDArray[np.float64]) -> NDArray[np.float64]:
    """Curing of annual grass: it dries within weeks and is green again a few weeks after rain."""
    cured, now = np.empty(mean.size), 0.0
    for i in range(mean.size):
        now += 0.06 * (1 - now) * float(np.clip((0.6 - stress[i]) / 0.4, 0, 1))
        # As after frost, new leaves take about 250 K d above 4 degree Celsius. A single storm of
        # summer does not wet the root zone enough.
        moist = float(np.clip((stress[i] - 0.6) / 0.3, 0, 1))
        now = max(0.0, now - moist * max(mean[i] - 4.0, 0.0) / 250)
        cured[i] = now
    return cured


def growing_degree_days(
    low: NDArray[np.floating], high: NDArray[np.floating], *, base: float, top: float = 30.0
) -> NDArray[np.float64]:
    """Compute the degree days of each day, K d, from extremes cut at ``base`` and ``top``.

    A day of 8 to 20 degree Celsius over a base of 6 gives (20 + 8) / 2 - 6 = 8 K d.

    References
    ----------
    McMaster & Wilhelm 1997, Agric. For. Meteorol. 87, 291-300, their method 2.
    """
    days = (np.clip(low, base, top) + np.clip(high, base, top)) / 2 - base
    return np.asarray(days, dtype=np.float64)


def daylength(latitude: float, day_of_year: NDArray[np.integer]) -> NDArray[np.float64]:
    """Hours of daylight (FAO-56, Allen et al. 1998, equations 24, 25 and 34)."""
    declination = 0.409 * np.sin(2 * np.pi * day_of_year / 365 - 1.39)
    cosine = -np.tan(np.radians(latitude)) * np.tan(declination)
    return np.asarray(24 / np.pi * np.arccos(np.clip(cosine, -1, 1)))


def _top_of_atmosphere(latitude: float, doy: NDArray[np.integer]) -> NDArray[np.float64]:
    """Solar radiation at the top of the atmosphere, J m-2 d-1 (FAO-56, equation 21)."""
    phi = np.radians(latitude)
    declination = 0.409 * np.sin(2 * np.pi * doy / 365 - 1.39)
    sunset = np.pi / 24 * daylength(latitude, doy)
    distance = 1 + 0.033 * np.cos(2 * np.pi * doy / 365)
    share = sunset * np.sin(phi) * np.sin(declination)
    share += np.cos(phi) * np.cos(declination) * np.sin(sunset)
    return np.asarray(24 * 3600 / np.pi * 1361 * distance * share)


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _bump(day: NDArray[np.integer], centre: float, width: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((day - centre) / width) ** 2))


def monthly_course(values: tuple[float, ...], doy: NDArray[np.integer]) -> NDArray[np.float64]:
    """Interpolate monthly means to days, across the turn of the year."""
    middle = np.arange(-0.5, 13) * 365.25 / 12
    return np.asarray(np.interp(doy, middle, [values[-1], *values, values[0]]))


def _persistent(kicks: NDArray[np.float64], memory: float) -> NDArray[np.float64]:
    """Filter white noise to a first-order autoregression of standard deviation 1."""
    return np.asarray(lfilter([np.sqrt(1 - memory**2)], [1, -memory], kicks))


def _markov(share: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Draw a chain of wet and dry days with a stationary ``share`` of wet days."""
    share = share.clip(0.02, 0.95)
    after_dry = share * (1 - _WET_PERSISTENCE)
    after_wet = after_dry + _WET_PERSISTENCE
    wet, now = np.zeros(share.size, dtype=bool), False
    for i in range(share.size):
        now = bool(chance[i] < (after_wet[i] if now else after_dry[i]))
        wet[i] = now
    return wet
