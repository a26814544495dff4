"""Pixel sets written by hand, for tests of networks, models and training."""

import numpy as np
import xarray as xr

from cubecrop.sample.shards import SCALE
from cubecrop.schema import SENTINEL1_BANDS, SENTINEL2_BANDS

CROPS = ("grass", "maize", "wheat")


def make_samples(
    *,
    n=12,
    n_pixels=4,
    seed=0,
    dates=(9, 7),
    cloud=0.4,
    noise=0.02,
    sensors=("sentinel2", "sentinel1"),
):
    """Pixel sets of parcels whose class shifts the season's peak, and their labels."""
    rng = np.random.default_rng(seed)
    labels = [CROPS[i % len(CROPS)] for i in range(n)]
    peak = np.array([100 + 80 * (i % len(CROPS)) for i in range(n)])
    start = np.datetime64("2017-09-01", "ns")
    counts = rng.integers(1, n_pixels + 1, n)
    real = np.arange(n_pixels)[None, :] < counts[:, None]  # (parcel, pixel)
    nodes = {}
    for name, variable, bands, n_dates in (
        ("sentinel2", "reflectance", SENTINEL2_BANDS, dates[0]),
        ("sentinel1", "backscatter", SENTINEL1_BANDS, dates[1]),
    ):
        if name not in sensors:
            continue
        days = np.linspace(10, 400, n_dates).astype(int)
        curve = np.exp(-(((days[None, :] - peak[:, None]) / 60.0) ** 2))  # (parcel, time)
        scale = np.linspace(0.2, 1, len(bands))
        values = curve[:, :, None, None] * scale[None, None, :, None]
        values = values + rng.normal(0, noise, (*values.shape[:3], n_pixels))
        if name == "sentinel1":
            values = values * 6 - 18
        share = cloud if name == "sentinel2" else 0.0
        valid = real[:, None, :] & (rng.random((n, n_dates, n_pixels)) >= share)
        values = np.where(valid[:, :, None, :], values, np.nan).astype(np.float32)
        nodes[name] = xr.Dataset(
            {
                variable: (("parcel", "time", "band", "pixel"), values),
                "valid": (("parcel", "time", "pixel"), valid),
            },
            coords={"time": start + days.astype("timedelta64[D]"), "band": list(bands)},
        )
    if "sentinel1" in nodes:
        nodes["sentinel1"]["backscatter"].attrs["calibration"] = "gamma0"
        n_dates = nodes["sentinel1"].sizes["time"]
        nodes["sentinel1"] = nodes["sentinel1"].assign_coords(
            orbit_state=("time", ["ascending"] * n_dates)
        )
    root = xr.Dataset(
        {"geometry": (("parcel", "feature"), np.ones((n, 4), np.float32))},
        coords={
            "parcel": [f"p{i}" for i in range(n)],
            "lon": ("parcel", np.linspace(3, 3.1, n)),
            "lat": ("parcel", np.linspace(50, 50.1, n)),
            "pixel_count": ("parcel", counts),
        },
        attrs={
            "season_year": 2018,
            "season_start": "2017-09-01",
            "season_end": "2018-10-31",
            "archive": "made by hand",
            "n_pixels": n_pixels,
            "seed": 0,
        },
    )
    return xr.DataTree.from_dict({"/": root, **nodes}), labels


def with_weather(samples):
    """The same pixel sets with weather, alike for every other parcel, and terrain."""
    n, rng = samples.sizes["parcel"], np.random.default_rng(1)
    days = np.datetime64("2017-09-01", "ns") + np.arange(400) * np.timedelta64(1, "D")
    cells = rng.normal(280, 5, (2, days.size, 2)).astype(np.float32)
    samples["weather"] = xr.Dataset(
        {"weather": (("parcel", "time", "variable"), cells[np.arange(n) % 2])},
        coords={"time": days, "variable": ["temperature_mean", "precipitation"]},
    )
    terrain = rng.normal(0, 1, (n, 2, samples.attrs["n_pixels"])).astype(np.float32)
    terrain[:, :, -1] = np.nan
    samples["terrain"] = xr.Dataset(
        {"terrain": (("parcel", "variable", "pixel"), terrain)},
        coords={"variable": ["elevation", "slope"]},
    )
    return samples


def as_in_files(samples):
    """The same pixel sets with reflectance as files hold it."""
    optical = samples["sentinel2"]["reflectance"]
    numbers = np.rint(optical.astype(float) / SCALE)
    samples["sentinel2"]["reflectance"] = (numbers * SCALE).astype(np.float32)
    return samples
