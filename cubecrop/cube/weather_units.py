"""Units of weather and the hours that a value stands for, from metadata and never from values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["CURE", "Kind", "Period", "Unit", "aggregate_of", "period_of", "unit_of"]

#: What a number is: a level such as a temperature, an amount that fell within a period, or a rate.
Kind = Literal["level", "amount", "rate"]
#: The time that a value stands for: the moment of its stamp, the step that ends or starts at the
#: stamp, or the time since the last midnight UTC.
Period = Literal["moment", "ending", "starting", "since midnight"]


@dataclass(frozen=True, slots=True)
class Unit:
    """``value * factor + offset`` is in our unit: K, mm or J m-2, or per day for a rate."""

    kind: Kind
    factor: float = 1.0
    offset: float = 0.0


_DAY: Final = 86_400.0
_TEMPERATURE: Final[Mapping[str, Unit]] = {
    "K": Unit("level"),
    "kelvin": Unit("level"),
    **dict.fromkeys(
        ("degC", "celsius", "Celsius", "degree_Celsius", "degrees_Celsius", "°C"),
        Unit("level", 1.0, 273.15),
    ),
}
#: A kilogram of water on a square metre is one millimetre.
_PRECIPITATION: Final[Mapping[str, Unit]] = {
    "m": Unit("amount", 1000.0),
    "m of water equivalent": Unit("amount", 1000.0),
    "cm": Unit("amount", 10.0),
    "mm": Unit("amount"),
    "kg m-2": Unit("amount"),
    "mm day-1": Unit("rate"),
    "kg m-2 day-1": Unit("rate"),
    "m day-1": Unit("rate", 1000.0),
    "mm h-1": Unit("rate", 24.0),
    "m h-1": Unit("rate", 24_000.0),
    "mm s-1": Unit("rate", _DAY),
    "kg m-2 s-1": Unit("rate", _DAY),
    "m s-1": Unit("rate", 1000.0 * _DAY),
}
_RADIATION: Final[Mapping[str, Unit]] = {
    "J m-2": Unit("amount"),
    "kJ m-2": Unit("amount", 1e3),
    "MJ m-2": Unit("amount", 1e6),
    "J m-2 day-1": Unit("rate"),
    "kJ m-2 day-1": Unit("rate", 1e3),
    "MJ m-2 day-1": Unit("rate", 1e6),
    "J m-2 h-1": Unit("rate", 24.0),
    "W m-2": Unit("rate", _DAY),
}
_UNITS: Final[Mapping[str, Mapping[str, Unit]]] = {
    "temperature": _TEMPERATURE,
    "precipitation": _PRECIPITATION,
    "solar_radiation": _RADIATION,
}
#: Other spellings of units of time, and ours.
_WORDS: Final[Mapping[str, str]] = {
    "d": "day", "days": "day", "hour": "h", "hours": "h", "hr": "h", "sec": "s", "second": "s",
}  # fmt: skip
CURE: Final = (
    "Add to the store what its values stand for: time bounds (CF), or the variable's attribute "
    "cell_methods: 'time: sum (interval: 1 hour)' for the amount of the hour that ends at the "
    "stamp, 'time: sum (comment: since 00 UTC)' for the amount since midnight, 'time: sum' for "
    "the amount of a day."
)


def unit_of(values: xr.DataArray, quantity: str, where: str) -> Unit:
    """Look up the unit in a variable's attribute ``units``.

    Parameters
    ----------
    values : xarray.DataArray
        A variable of a store.
    quantity : {"temperature", "precipitation", "solar_radiation"}
        What it measures.
    where : str
        The store's name for messages.

    Raises
    ------
    SchemaError
        The quantity has no such unit; the message names variable and unit.
    """
    written = str(values.attrs.get("units", ""))
    known = _UNITS[quantity]
    unit = known.get(written) or known.get(_plain(written))
    if unit is None:
        raise SchemaError(
            f"weather variable {values.name!r} of {where} has unit {written!r}, expected one of "
            f"{sorted(known)}. Set its `units` attribute in the store."
        )
    return unit


def _plain(written: str) -> str:
    """Rewrite a unit in our spelling: ``J m**-2/hour`` becomes ``J m-2 h-1``."""
    text = written.replace("**", "").replace("^", "").replace("*", " ").replace(".", " ")
    words = []
    for number, part in enumerate(text.split("/")):
        for word in part.split():
            name, power = re.fullmatch(r"(.*?)(-?\d*)", word).groups()  # type: ignore[union-attr]
            power = f"-{power or 1}" if number else power
            words.append(_WORDS.get(name, name) + power)
    return " ".join(words)


def aggregate_of(values: xr.DataArray) -> str:
    """How values were aggregated over time: ``mean``, ``sum``, ``maximum`` …, or ``""``."""
    methods = str(values.attrs.get("cell_methods", ""))
    match = re.search(r"\btime:\s*(\w+)", methods)
    return match[1] if match else ""


def period_of(
    values: xr.DataArray,
    unit: Unit,
    *,
    step: np.timedelta64,
    bounds: NDArray[np.datetime64] | None,
    known: Period | None,
    where: str,
) -> Period:
    """Find the time that a value of a sub-daily series stands for.

    The sources, in this order, are: time bounds (CF); the documentation of the source; the
    variable's attributes ``cell_methods`` and ``GRIB_stepType``; CF's defaults, by which a level
    or a rate is that of a moment. ``GRIB_stepType`` "accum" is not enough: it means an hour in
    ERA5, and the time since midnight in ERA5-Land.

    Parameters
    ----------
    values : xarray.DataArray
        (time, …) with the attributes of the store.
    unit : Unit
        Unit of the values.
    step : numpy.timedelta64
        Time step of the series.
    bounds : numpy.ndarray, optional
        (time, 2) datetime64: start and end of each value.
    known : str, optional
        What the source's documentation says about amounts.
    where : str
        The store's name for messages.

    Raises
    ------
    SchemaError
        The metadata does not say.
    """
    aggregate, grib = aggregate_of(values), str(values.attrs.get("GRIB_stepType", ""))
    if unit.kind == "level" and aggregate in {"", "point"} and grib in {"", "instant"}:
        return "moment"
    if bounds is not None:
        return _by_bounds(values, step, bounds, where)
    if unit.kind == "amount":
        if known is not None:
            return known
        methods = str(values.attrs.get("cell_methods", ""))
        if aggregate == "sum" and re.search(r"since (00|midnight)", methods):
            return "since midnight"
        if aggregate == "sum" and re.search(r"interval: 1 h(our|r)?\b", methods):
            return "ending"
        raise SchemaError(
            f"weather variable {values.name!r} of {where} has unit "
            f"{values.attrs.get('units')!r}, an amount, but nothing says for which time: the hour "
            "before the stamp, as in ERA5, the time since 00 UTC, as in ERA5-Land, or a day. "
            f"{CURE}"
        )
    if aggregate in {"", "point"} and grib in {"", "instant"}:
        return "moment"
    return "ending"  # ECMWF stamps means, maxima and minima at the end


def _by_bounds(
    values: xr.DataArray, step: np.timedelta64, bounds: NDArray[np.datetime64], where: str
) -> Period:
    stamps = values["time"].to_numpy()
    starts, ends = bounds[:, 0], bounds[:, 1]
    if (starts == stamps).all() and (ends - starts == step).all():
        return "starting"
    if (ends == stamps).all():
        if (ends - starts == step).all():
            return "ending"
        midnights = (stamps - np.timedelta64(1, "ns")).astype("datetime64[D]")
        if (starts == midnights).all():
            return "since midnight"
    raise SchemaError(
        f"weather variable {values.name!r} of {where} has time bounds such as {starts[0]} to "
        f"{ends[0]} at {stamps[0]}, expected a step that ends or starts at the stamp, or the time "
        "since midnight. Correct the bounds in the store."
    )
