"""Units of weather, and which hours a value stands for: told by metadata, never by values."""

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

#: What a number is: a level such as a temperature, an amount that fell within a period, or the
#: rate at which it falls.
Kind = Literal["level", "amount", "rate"]
#: The time that a value stands for: the moment of its stamp, the step that ends or starts
#: there, or all since the last midnight, UTC.
Period = Literal["moment", "ending", "starting", "since midnight"]


@dataclass(frozen=True, slots=True)
class Unit:
    """``value * factor + offset`` is ours: K; mm and J m-2, or a day's worth of a rate."""

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
#: A kilogram of water on a square metre is a millimetre high.
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
#: A word of one unit of time, to the way we write it.
_WORDS: Final[Mapping[str, str]] = {
    "d": "day", "days": "day", "hour": "h", "hours": "h", "hr": "h", "sec": "s", "second": "s",
}  # fmt: skip
CURE: Final = (
    "Write what its values stand for into the store: bounds of its time (CF), or the attribute "
    "cell_methods of the variable: 'time: sum (interval: 1 hour)' for the amount of the hour that "
    "ends at the stamp, 'time: sum (comment: since 00 UTC)' for what has fallen since midnight, "
    "'time: sum' for that of a day."
)


def unit_of(values: xr.DataArray, quantity: str, where: str) -> Unit:
    """What a variable's attribute ``units`` means.

    Parameters
    ----------
    values : xarray.DataArray
        A variable of a store.
    quantity : {"temperature", "precipitation", "solar_radiation"}
        What it measures.
    where : str
        The store, as messages name it.

    Raises
    ------
    SchemaError
        The unit is not one of that quantity; the message names variable and unit.
    """
    written = str(values.attrs.get("units", ""))
    known = _UNITS[quantity]
    found = known.get(written) or known.get(_plain(written))
    if found is None:
        raise SchemaError(
            f"weather variable {values.name!r} of {where} has unit {written!r}, expected one of "
            f"{sorted(known)}. Set its `units` attribute in the store."
        )
    return found


def _plain(written: str) -> str:
    """``J m**-2/hour`` as ``J m-2 h-1``."""
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
    """Tell what a value of a sub-daily series stands for.

    Asked in this order: bounds of the time (CF), what is known of the source, the variable's
    own attributes ``cell_methods`` and ``GRIB_stepType``, and CF's defaults, by which a level
    or a rate is that of a moment. ERA5 and ERA5-Land both call their amounts ``accum``; one
    means an hour and the other all since midnight, so that alone tells nothing.

    Parameters
    ----------
    values : xarray.DataArray
        (time, …) with the attributes of the store.
    unit : Unit
        What its numbers are.
    step : numpy.timedelta64
        Of the series.
    bounds : numpy.ndarray, optional
        (time, 2) datetime64: start and end of each value.
    known : str, optional
        What the source's documentation says of amounts.
    where : str
        The store, as messages name it.

    Raises
    ------
    SchemaError
        It cannot be told.
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
            f"{values.attrs.get('units')!r}, an amount, and nothing says of which time: of the "
            "hour before the stamp, as in ERA5, of all since 00 UTC, as in ERA5-Land, or of a "
            f"day. {CURE}"
        )
    if aggregate in {"", "point"} and grib in {"", "instant"}:
        return "moment"
    return "ending"  # as ECMWF stamps means, maxima and minima


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
        f"{ends[0]} at {stamps[0]}, expected a step that ends or starts at the stamp, or all "
        "since midnight."
    )
