"""The picture of the demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import rasterio
from rasterio.windows import from_bounds

from cubecrop.cube import open_season
from cubecrop.nomenclature import NODATA
from cubecrop.sample import sample_pixel_sets
from cubecrop.write import draw_map, legend

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from cubecrop.nomenclature import Nomenclature

__all__ = ["Seasons", "Story", "draw_demo", "read_photo", "read_seasons"]

#: The crops with the most different seasons; more lines would hide each other.
_SHOWN: Final = (
    "winter wheat", "winter rapeseed", "maize", "sugar beet", "potato", "permanent grass",
)  # fmt: skip
_PIXELS: Final = 12
#: A dekad is drawn if at least this share of the parcels has a value.
_MIN_SHARE: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasons:
    """NDVI of parcels on the dates of Sentinel-2.

    ``time (time)``; ``ndvi (parcel, time)``, NaN under cloud; ``crop (parcel)`` names;
    ``hidden (time)`` share of the parcels' pixels under cloud or shadow.
    """

    time: NDArray[np.datetime64]
    ndvi: NDArray[np.float32]
    crop: NDArray[np.object_]
    hidden: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Contents of the picture.

    ``photo (y, x, 3)`` is from 0 to 1. ``truth`` (the crops that grow), ``mapped`` (the map) and
    ``unseen`` (the crops of held-out parcels) are class indices (y, x) uint8, 255 = none.
    ``confidence`` is (y, x).
    """

    seasons: Seasons
    photo: NDArray[np.float32]
    truth: NDArray[np.uint8]
    mapped: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    unseen: NDArray[np.uint8]
    nomenclature: Nomenclature


def read_seasons(
    parcels: gpd.GeoDataFrame, crop: pd.Series[str], year: int, archive: Path
) -> Seasons:
    """Read the NDVI of a few pixels of each parcel; reads the archive's files."""
    cube = open_season(parcels, year, archive=archive, modalities=("sentinel2",))
    samples = sample_pixel_sets(cube, parcels, n_pixels=_PIXELS)["sentinel2"].to_dataset()
    samples = samples.sel(band=["B04", "B08"]).compute()
    red, infrared = (samples["reflectance"].sel(band=b).to_numpy() for b in ("B04", "B08"))
    valid = samples["valid"].to_numpy()  # (parcel, time, pixel)
    total = np.where(valid, (infrared - red) / (infrared + red), 0).sum(axis=2)
    n = valid.sum(axis=2)
    real = np.any(valid, axis=1)  # padding is never valid, and does not count as cloud
    return Seasons(
        time=samples["time"].to_numpy(),
        ndvi=np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32),
        crop=crop.to_numpy(dtype=object),
        hidden=1 - n.sum(axis=0) / max(int(real.sum()), 1),
    )


def read_photo(archive: Path, bounds: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Natural colours of the clearest image of May to July, within bounds in its CRS."""
    items = [json.loads(path.read_text()) for path in archive.glob("sentinel-2-l2a/*/*.json")]
    summer = [i for i in items if 5 <= int(i["properties"]["datetime"][5:7]) <= 7]
    best = min(summer, key=lambda i: (i["properties"]["eo:cloud_cover"], i["id"]))
    layers = []
    for key in ("B04", "B03", "B02"):
        path = archive / "sentinel-2-l2a" / best["id"] / f"{key}.tif"
        with rasterio.open(path) as image:
            window = from_bounds(*bounds, image.transform)
            number = image.read(1, window=window, boundless=True, fill_value=1000)
            layers.append((number.astype(np.float32) - 1000) / 10000)
    photo = np.stack(layers, axis=-1) / np.float32(0.2)
    return np.asarray(photo.clip(0, 1) ** np.float32(0.75), dtype=np.float32)


def draw_demo(path: Path, story: Story) -> None:
    """Draw the seasons, an image, the true crops, the map, its confidence and its errors."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 12.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 3, height_ratios=(0.82, 1, 1))
    _draw_seasons(figure.add_subplot(grid[0, :]), story)
    panels = [figure.add_subplot(grid[1 + i // 3, i % 3]) for i in range(5)]
    panels[0].imshow(story.photo, interpolation="nearest")
    panels[0].set_title("Clearest Sentinel-2 image of early summer", loc="left")
    draw_map(panels[1], story.truth, story.nomenclature)
    panels[1].set_title("The truth: what grows", loc="left")
    draw_map(panels[2], story.mapped, story.nomenclature)
    # Woods and villages have no class, so the map is drawn paler there.
    pale = np.zeros((*story.truth.shape, 4), dtype=np.float32)
    pale[story.truth == NODATA] = (1, 1, 1, 0.65)
    panels[2].imshow(pale, interpolation="nearest")
    panels[2].set_title("The map: every pixel by itself", loc="left")
    panels[2].set_xlabel("pale: no parcel, so no crop to be right about")
    image = panels[3].imshow(
        story.confidence, vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
    )
    panels[3].set_title("Confidence of the map", loc="left")
    inset = panels[3].inset_axes((0.04, -0.06, 0.92, 0.03))
    figure.colorbar(image, cax=inset, orientation="horizontal")
    _draw_mistakes(panels[4], story)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    _draw_key(figure.add_subplot(grid[2, 2]), story)
    figure.savefig(path)


def _colour(story: Story, crop: str) -> str:
    names = story.nomenclature.names
    return story.nomenclature.colours[names.index(crop)] if crop in names else "#555555"


def _draw_seasons(axes: Axes, story: Story) -> None:
    seasons = story.seasons
    known = [crop for crop in _SHOWN if (seasons.crop == crop).any()]
    days = seasons.time.astype("datetime64[D]")
    axes.bar(
        days, seasons.hidden, width=4.2, color="#C9CED6", alpha=0.65, label="hidden by cloud",
        zorder=0,
    )  # fmt: skip
    for crop in known:
        mine = pd.DataFrame(seasons.ndvi[seasons.crop == crop].T, index=seasons.time)
        # A dekad with values of few parcels does not represent the crop.
        dekads = mine.resample("10D").median()
        dekads[dekads.notna().mean(axis=1) < _MIN_SHARE] = np.nan
        middle = dekads.index.to_numpy() + np.timedelta64(5, "D")
        spread = dekads.quantile([0.25, 0.5, 0.75], axis=1).T.interpolate(limit_area="inside")
        colour = _colour(story, crop)
        axes.fill_between(middle, spread[0.25], spread[0.75], color=colour, alpha=0.18, lw=0)
        axes.plot(middle, spread[0.5], color=colour, lw=2.2, label=crop)
    axes.set(ylim=(0, 1), ylabel="NDVI")
    axes.margins(x=0.005)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        "Seasons of the parcels: median and middle half of NDVI by crop; grey, share of pixels "
        "hidden by cloud and shadow",
        loc="left",
    )
    axes.legend(loc="upper center", ncols=len(known) + 1, frameon=False, fontsize=9,
                bbox_to_anchor=(0.5, -0.08))  # fmt: skip


def _draw_mistakes(axes: Axes, story: Story) -> None:
    colours = ("#E6E6E6", "#6E7781", "#E4572E")
    right = story.unseen == story.mapped
    kind = np.where(story.unseen == NODATA, 0, np.where(right, 1, 2))
    table = np.array([tuple(bytes.fromhex(c[1:])) for c in colours], np.uint8)
    axes.imshow(table[kind], interpolation="nearest")
    inside = story.unseen != NODATA
    share = right[inside].mean() if inside.any() else float("nan")
    axes.set_title(f"Held-out parcels: {share:.0%} of pixels right", loc="left")
    axes.set_xlabel("dark grey: right, orange: wrong, pale: not held out")


def _draw_key(axes: Axes, story: Story) -> None:
    axes.set_axis_off()
    legend(
        axes, np.stack([story.truth, story.mapped]), story.nomenclature, loc="upper left",
        fontsize=10, title="Crops", alignment="left",
    )  # fmt: skip
    axes.text(
        0.02, 0.02,
        "All of it simulated: weather drives growth,\ngrowth what the satellites see, rain the "
        "clouds.\nOne command: cubecrop demo",
        transform=axes.transAxes, fontsize=9.5, color="#444444", va="bottom",
    )  # fmt: skip
