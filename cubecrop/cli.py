"""The command line: one library call a command.

A long command is a function in a module of the folder ``commands``. It imports nothing from here:
``app.command(function)`` adds it where it stands in the help.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

import cubecrop
from cubecrop.checks import check_share
from cubecrop.commands.adaptation import adapt
from cubecrop.commands.areas import area_estimates
from cubecrop.commands.evaluation import evaluate, report
from cubecrop.commands.models import models
from cubecrop.commands.regions import map_region
from cubecrop.commands.searching import search
from cubecrop.commands.training import train
from cubecrop.errors import CubecropError, SchemaError
from cubecrop.options import (
    AllowGaps,
    Aoi,
    Archive,
    Clip,
    Clouds,
    CropMask,
    End,
    Layers,
    MaskClasses,
    Memory,
    Overwrite,
    Start,
    Verbose,
    Weather,
    Year,
    check_whole_numbers,
    memory_or_default,
    model_or_default,
    season_between,
)  # fmt: skip
from cubecrop.printing import (
    demo_text,
    plain_console,
    print_archive,
    print_calibration,
    print_model,
)
from cubecrop.terminal import Terminal, lenient_streams, short_warnings, silence
from cubecrop.texts import printable

__all__ = ["main"]

app = App(
    name="cubecrop",
    help="Crop maps straight from satellite archives.",
    version=cubecrop.__version__,
    config=check_whole_numbers,
)


def main() -> None:
    """Run the command line; an error of cubecrop or of a disk is one message and exit code 1."""
    with lenient_streams(), short_warnings():
        try:
            app(sys.argv[1:], console=Terminal(), error_console=Terminal(stderr=True))
        except (CubecropError, OSError) as error:
            if not isinstance(error, CubecropError):
                silence(sys.stdout)  # which may be what failed: what it still holds is lost
            console = Terminal(stderr=True)
            console.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
            # Without markup, since paths hold brackets, and without line breaks in the message.
            console.out(printable(error), highlight=False)
            sys.exit(1)


@app.command
def demo(*, out: Path = Path("cubecrop-demo"), seed: int = 0, verbose: Verbose = False) -> None:
    """Simulate an archive, train, classify and map it. Needs no data and no network.

    Parameters
    ----------
    out
        Folder to write; must be missing or empty.
    seed
        Same seed, same result.
    """
    from cubecrop.scoreboard import print_scores

    result = cubecrop.demo(out, seed=seed)
    console = plain_console()
    print_scores(console, result.model, verbose=verbose)
    console.print(demo_text(result.model))
    console.print(
        f"Map: {result.pixels.accuracy:.1%} of the {result.pixels.n:,} pixels in held-out parcels "
        "are right, compared with the simulated crops themselves. The page about the simulator "
        "explains what such scores say about real crops."
    )
    console.print(f"Written to {result.folder}: see {result.folder / 'demo.png'}")


app.command(search)


app.command(train)
app.command(adapt)


@app.command
def classify_parcels(
    parcels: Path,
    *,
    year: Year,
    archive: Archive = None,
    out: Path,
    model: Path | None = None,
    start: Start = None,
    end: End = None,
    clouds: Clouds = None,
    weather: Weather = None,
    memory: Memory = None,
    columns: Literal["fiboa", "plain"] = "fiboa",
    allow_gaps: AllowGaps = False,
    overwrite: Overwrite = False,
) -> None:
    """Classify parcels and write them as GeoParquet or GeoPackage.

    Parameters
    ----------
    parcels
        Vector file with a unique id and a CRS.
    model
        Folder of a trained model; by default the model that is part of cubecrop.
    out
        File to write: GeoParquet (.parquet) or GeoPackage (.gpkg).
    columns
        fiboa for names such as crop:name, plain for names such as predicted_crop.
    """
    from cubecrop.sample import read_parcels
    from cubecrop.write.parcels import check_parcel_path, check_table
    from cubecrop.write.shares import predicted_text, sure_text

    check_parcel_path(out, overwrite=overwrite)
    given = read_parcels(parcels)
    check_table(given, out, columns=columns)
    crop_model = model_or_default(model)
    table = cubecrop.classify_parcels(
        given,
        year,
        archive=archive,
        model=crop_model,
        season=season_between(year, start, end, crop_model),
        clouds=clouds,
        weather=weather,
        memory=memory_or_default(memory),
        allow_gaps=allow_gaps,
    )
    cubecrop.write_parcels(table, out, columns=columns, overwrite=overwrite)
    console = plain_console()
    print_model(console, crop_model, given=model is not None)
    print_calibration(console, crop_model)
    levels = table.get("crop:level")
    known = [] if levels is None else levels[table["status"] == "predicted"].tolist()
    for line in [*predicted_text(table["status"].tolist()), *sure_text(known)]:
        console.print(line)
    print_archive(console, table.attrs.get("archive"))
    console.print(f"Written to {out}")


@app.command
def classify(
    *,
    aoi: Aoi,
    year: Year,
    archive: Archive = None,
    out: Path,
    model: Path | None = None,
    start: Start = None,
    end: End = None,
    resolution: float | None = None,
    crs: str | None = None,
    max_lost: float = 0,
    clouds: Clouds = None,
    weather: Weather = None,
    memory: Memory = None,
    allow_gaps: AllowGaps = False,
    mask: CropMask = "auto",
    mask_classes: MaskClasses = None,
    clip: Clip = True,
    layers: Layers = None,
    sieve: int | None = None,
    majority: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Map the crops of an area and write the map to a folder.

    Parameters
    ----------
    model
        Folder of a trained model; by default the model that is part of cubecrop.
    out
        Folder to write the map to.
    resolution
        Pixel size in metres; by default that of the model's training, or 10.
    crs
        Projected CRS such as EPSG:32631; by default the UTM zone of the area.
    max_lost
        Share of the STAC items, 0 to 1, that may be unreadable; item.json lists them.
    sieve
        Smooth the map: groups of fewer pixels than this take the class around them.
    majority
        Smooth the map: each parcel of this vector file takes its most frequent class.
    """
    from cubecrop.files import check_free
    from cubecrop.write.crop_map import REPLACED
    from cubecrop.write.layers import check_layers
    from cubecrop.write.shares import archive_of, mapped_text, unmasked_text
    from cubecrop.write.smoothing import as_smoother

    check_free(out, files=REPLACED, overwrite=overwrite)
    check_share("max_lost", max_lost, whole=True, error=SchemaError)
    # Mistakes show before the archive is searched.
    chosen = check_layers(layers or ())
    as_smoother(sieve, majority)
    crop_model = model_or_default(model)
    crop_map = cubecrop.classify(
        aoi,
        year,
        archive=archive,
        model=crop_model,
        season=season_between(year, start, end, crop_model),
        resolution=resolution,
        crs=crs,
        clouds=clouds,
        weather=weather,
        memory=memory_or_default(memory),
        allow_gaps=allow_gaps,
        mask=mask,
        mask_classes=mask_classes,
        clip=clip,
    )
    cubecrop.write_map(
        crop_map,
        out,
        sieve=sieve,
        majority=majority,
        layers=chosen,
        max_lost=max_lost,
        overwrite=overwrite,
    )
    console = plain_console()
    print_model(console, crop_model, given=model is not None)
    print_calibration(console, crop_model)
    item = out / "item.json"
    for line in [*mapped_text(item), *(unmasked_text(item) if mask == "auto" else [])]:
        console.print(line)
    print_archive(console, archive_of(item))
    console.print(f"Written to {out}: see {out / 'quicklook.png'}")


app.command(map_region)


app.command(evaluate)
app.command(report)
app.command(area_estimates)
app.command(models)


@app.command
def simulate(
    *,
    out: Path,
    preset: str = "demo",
    region: Annotated[list[str] | None, Parameter(negative="")] = None,
    year: Annotated[list[int] | None, Parameter(negative="")] = None,
    size_km: float | None = None,
    land_cover: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
) -> None:
    """Simulate an archive of crops, weather, radar and cloud, with its true crops.

    Parameters
    ----------
    out
        Folder to write; must be missing or empty.
    preset
        demo, regions, years, cloudy or no-sentinel-1b; other options replace its settings.
    region
        flanders, normandy, bavaria, aquitaine, ontario, maritimes, languedoc or andalusia; may be
        repeated.
    year
        Harvest year; may be repeated.
    size_km
        Side of each region's square in kilometres, 0.5 to 20.
    land_cover
        Add a land-cover map, so that maps leave out what is no cropland.
    seed
        Same seed, same bytes.
    """
    cubecrop.simulate_archive(
        out,
        preset=preset,
        regions=region,
        years=year,
        size_km=size_km,
        land_cover=land_cover or None,
        seed=seed,
    )
    plain_console().print(f"Written to {out}")
