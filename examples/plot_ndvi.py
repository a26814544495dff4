"""Plot the season of the vegetation index NDVI by crop, from pixel sets alone.

Run as ``python examples/plot_ndvi.py PARCELS LABEL YEAR ARCHIVE PICTURE.png``; PARCELS is a
vector file with a column ``id``, LABEL the column that holds the crop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import cubecrop
from cubecrop.sample import read_parcels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parcels", type=Path)
    parser.add_argument("label")
    parser.add_argument("year", type=int)
    parser.add_argument("archive")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()

    parcels = read_parcels(given.parcels)
    season = cubecrop.open_season(
        parcels, given.year, archive=given.archive, modalities=("sentinel2",)
    )
    samples = cubecrop.sample_pixel_sets(season, parcels, n_pixels=16)
    reflectance = samples["sentinel2/reflectance"]  # (parcel, time, band, pixel), lazy
    red, infrared = reflectance.sel(band="B04"), reflectance.sel(band="B08")
    ndvi = (infrared - red) / (infrared + red)
    crops = parcels[given.label].to_numpy()
    # Cloud and padding are NaN, and the mean skips them.
    ndvi = ndvi.mean("pixel").compute().assign_coords(crop=("parcel", crops))

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for crop, members in ndvi.groupby("crop"):
        curve = members.dropna("time", how="all").median("parcel")
        axes.plot(curve["time"], curve, marker=".", label=str(crop))
    axes.set_ylabel("NDVI, median of the parcels")
    axes.set_title(f"Season {given.year}", loc="left")
    axes.legend(fontsize="small")
    figure.savefig(given.picture)
    print(f"Written to {given.picture}")


if __name__ == "__main__":
    main()
