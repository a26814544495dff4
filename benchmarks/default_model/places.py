"""Use the default model on real places that it was not trained on.

``python -m benchmarks.default_model.places`` classifies the parcels and pixels of the patch of
Flanders of 2018, with `cubecrop.classify_parcels` and `cubecrop.classify`, and compares them with
the declared crops; and the monthly cube of Belgium of 2021, which it compares with WorldCereal's
product layers (this needs h5netcdf or netCDF4). The patch lies in the region and year of some
training points; the distance to the nearest is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import xarray as xr
from rich.console import Console

import cubecrop
from benchmarks.default_model.points import BANDS, CLASSES, DATA, classes_of, read_points
from cubecrop import CropModel
from cubecrop.nomenclature import MAX_CLASSES, OUTSIDE_KNOWLEDGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["belgium", "flanders"]

YEAR = 2018
#: A missing number of the cube.
_MISSING: Final = 65535


def flanders(data: Path = DATA, model: CropModel | None = None) -> dict[str, Any]:
    """Scores of the patch: parcels and pixels of those whose crop is a class of the model."""
    archive = data / "flanders-2018"
    parcels = gpd.read_parquet(archive / "parcels.parquet")
    if "id" not in parcels:
        parcels = parcels.assign(id=np.arange(len(parcels)).astype(str))
    known = classes_of("croptype")
    truth = parcels["crop_code"].astype(str).map(known)
    table = cubecrop.classify_parcels(parcels, YEAR, archive=archive, model=model)
    crop_map = cubecrop.classify(parcels, YEAR, archive=archive, model=model).compute()
    found = _in_parcels(crop_map, parcels)
    names = [str(name) for name in crop_map["crop"].to_numpy()]
    of_pixels = truth.reindex(range(len(parcels))).to_numpy()[found["parcel"]]
    labelled = pd.notna(of_pixels) & (found["class"] < len(names))
    mapped = np.array(names, dtype=object)[np.where(labelled, found["class"], 0)]
    has_class = truth.notna().to_numpy()
    shares = _shares_by_level(crop_map)
    predicted = table["crop:name"].to_numpy()
    return {
        "parcels": int(has_class.sum()),
        "parcels right": int((predicted == truth.to_numpy())[has_class].sum()),
        "groups right": int(_same_group(predicted[has_class], truth[has_class].to_numpy()).sum()),
        "pixels": int(labelled.sum()),
        "pixels right": int((mapped == of_pixels)[labelled].sum()),
        "pixels, groups right": int(_same_group(mapped[labelled], of_pixels[labelled]).sum()),
        "pixels by level": shares,
        "nearest training point, km": _nearest(parcels, data),
        "table": pd.DataFrame(
            {"declared": parcels["crop_name"], "predicted": predicted,
             "level": table["crop:level"], "at level": table["crop:name_at_level"],
             "confidence": table["confidence"].round(2)}
        ),
    }  # fmt: skip


def belgium(data: Path = DATA, model: CropModel | None = None) -> pd.DataFrame:
    """Share of each of WorldCereal's layers of 2021 that the model gives to each of its classes.

    A pixel counts with the first layer that marks it; "no temporary crop" has those of none.
    """
    with xr.open_dataset(data / "belgium-2021-monthly-cube.nc") as cube:
        cube = cube.load()
    model = model or CropModel.default()
    probability = model.predict_proba(_pixels_of(cube)).to_numpy()
    found = np.array(model.nomenclature.names)[probability.argmax(axis=1)]
    layer = np.full(len(found), "other temporary crop", dtype=object)
    layer[cube["WORLDCEREAL_TEMPORARYCROPS_2021"].to_numpy().ravel() != _MARKED] = _NO_CROP
    for name, variable in _LAYERS.items():
        layer[cube[variable].to_numpy().ravel() == _MARKED] = name
    table = pd.crosstab(pd.Series(layer, name="WorldCereal"), pd.Series(found, name="class"))
    return table.assign(pixels=table.sum(axis=1))


_MARKED: Final = 100
_NO_CROP: Final = "no temporary crop"
_LAYERS: Final = {
    "winter cereals": "WORLDCEREAL_WINTERCEREALS_2021",
    "spring cereals": "WORLDCEREAL_SPRINGCEREALS_2021",
    "maize": "WORLDCEREAL_MAIZE-MAIN_2021",
}


def _pixels_of(cube: xr.Dataset) -> xr.DataTree:
    """Each pixel of the monthly cube as a parcel of one pixel, in the season of 2021."""
    months = cube["t"].to_numpy().astype("datetime64[M]")
    first, last = np.datetime64("2020-09"), np.datetime64("2021-12")
    inside = np.flatnonzero((months >= first) & (months <= last))
    days = months[inside].astype("datetime64[D]") + np.timedelta64(15, "D")

    def node(variable: str, columns: dict[str, NDArray[Any]], attrs: dict[str, str]) -> xr.Dataset:
        values = np.stack(
            [part[inside] for part in columns.values()], axis=-1
        )  # (time, y, x, band)
        values = values.reshape(len(inside), -1, len(columns)).transpose(1, 0, 2)[..., None]
        values = values.astype(np.float32)  # (parcel, time, band, pixel)
        return xr.Dataset(
            {
                variable: (("parcel", "time", "band", "pixel"), values, attrs),
                "valid": (("parcel", "time", "pixel"), np.isfinite(values).all(axis=2)),
            },
            coords={"time": days.astype("datetime64[ns]"), "band": list(columns)},
        )

    def number(name: str) -> NDArray[np.floating]:
        values = cube[name].to_numpy().astype(float)
        return np.where((values == _MISSING) | (values == 0), np.nan, values)

    optical = {band: number(f"B{int(band[1:])}") / 10000 for band in BANDS}
    radar = {band: 20 * np.log10(number(band.upper())) - 83 for band in ("vv", "vh")}
    n = cube.sizes["y"] * cube.sizes["x"]
    root = xr.Dataset(
        coords={"parcel": np.arange(n), "pixel_count": ("parcel", np.ones(n, dtype=np.int64))},
        attrs={
            "season_year": 2021, "season_start": "2020-09-01", "season_end": "2021-12-31",
            "composite": "month", "archive": "Belgium 2021", "n_pixels": 1, "seed": 0,
        },
    )  # fmt: skip
    nodes = {
        "/": root,
        "sentinel2": node("reflectance", optical, {"units": "1"}),
        "sentinel1": node("backscatter", radar, {"units": "dB", "calibration": "sigma0"}),
    }
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def _same_group(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    groups = [[CLASSES.get(name) for name in part] for part in (one, other)]
    return np.array(groups[0]) == np.array(groups[1])


def _shares_by_level(crop_map: xr.Dataset) -> dict[str, float]:
    """Share of the pixels with a prediction by the level of their class, or unknown."""
    crop, level = (crop_map[name].to_numpy() for name in ("crop_type", "level"))
    predicted = (crop < MAX_CLASSES) | (crop == OUTSIDE_KNOWLEDGE)
    names = crop_map["level"].attrs["flag_meanings"].split()
    shares = {name: float((level == i)[predicted].mean()) for i, name in enumerate(names)}
    return {**shares, "unknown": float((crop == OUTSIDE_KNOWLEDGE)[predicted].mean())}


def _in_parcels(crop_map: xr.Dataset, parcels: gpd.GeoDataFrame) -> dict[str, NDArray[Any]]:
    """Number of the parcel and class of each pixel whose centre lies in a parcel."""
    x, y = np.meshgrid(crop_map["x"].to_numpy(), crop_map["y"].to_numpy())
    centres = gpd.GeoDataFrame(
        {"class": crop_map["crop_type"].to_numpy().ravel()},
        geometry=gpd.points_from_xy(x.ravel(), y.ravel(), crs=crop_map.rio.crs),
    )
    numbered = parcels[["geometry"]].reset_index(drop=True).to_crs(centres.crs)
    joined = gpd.sjoin(centres, numbered, predicate="within")
    return {"class": joined["class"].to_numpy(), "parcel": joined["index_right"].to_numpy()}


def _nearest(parcels: gpd.GeoDataFrame, data: Path) -> float:
    centre = parcels.to_crs(4326).union_all().centroid
    geod, least = pyproj.Geod(ellps="WGS84"), np.inf
    for part in read_points(data):
        lon, lat = (part.samples[name].to_numpy() for name in ("lon", "lat"))
        away = geod.inv(np.full_like(lon, centre.x), np.full_like(lat, centre.y), lon, lat)[2]
        least = min(least, float(away.min()) / 1000)
    return round(least, 1)


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.default_model.places",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the real data")
    options = parser.parse_args()
    console = Console(width=110)
    found = flanders(options.data)
    console.print(found.pop("table").to_string(), markup=False)
    for name, value in found.items():
        console.print(f"{name}: {value}", markup=False)
    try:
        console.print(belgium(options.data).to_string(), markup=False)
    except ValueError as error:  # no reader of netCDF 4 is installed
        console.print(f"Belgium was left out: {error}", markup=False)


if __name__ == "__main__":
    main()
