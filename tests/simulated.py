"""Weather for the simulator, and helpers that read what it wrote."""

import datetime as dt
import hashlib
from pathlib import Path

import numpy as np

from cubecrop.simulate.weather import Weather, daylength


def items_of(catalog, collection):
    return sorted(catalog.get_child(collection).get_items(), key=lambda item: item.datetime)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def steady_weather(temperature, *, rain=0.0, start=dt.date(2022, 1, 1), days=1095, lat=50.7):
    """Every day the same, so that dates of growth can be worked out by hand."""
    same = np.full(days, float(temperature))
    doy = (np.arange(days) % 365) + 1
    return Weather(
        start=start, mean=same, low=same - 4, high=same + 4, rain=np.full(days, rain),
        sun=np.full(days, 12e6), cloud=np.full(days, 0.3), daylength=daylength(lat, doy),
    )  # fmt: skip
