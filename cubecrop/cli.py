"""The command line: one library call a command."""

from __future__ import annotations

import datetime as dt
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

import cubecrop
from cubecrop.checks import check_share
from cubecrop.errors import CubecropError, LabelError, SchemaError
from cubecrop.printing import demo_text, found_table, plain_console, print_calibration
from cubecrop.season import Season
from cubecrop.terminal import Terminal, lenient_streams
from cubecrop.texts import printable

if TYPE_CHECKING:  # none that a command's signature names: cyclopts reads these
    from collections.abc import Iterator

    from rich.console import Console

__all__ = ["main"]

app = App(
    name="cubecrop",
    help="Crop maps straight from satellite archives.",
    version=cubecrop.__version__,
)

Aoi = Annotated[
    str,
    Parameter(
        help="A vector file, or 'west,south,east,north' in degrees.",
        allow_leading_hyphen=True,  # west of Greenwich
    ),
]
_ARCHIVE = (
    "planetary-computer, earth-search or cdse, a folder with a STAC catalog, an ItemCollection "
    "file, or a STAC API's URL."
)
Archive = Annotated[str, Parameter(help=_ARCHIVE)]
Year = Annotated[int, Parameter(help="Harvest year.")]
Start = Annotated[dt.date | None, Parameter(help="First day of the season, YYYY-MM-DD.")]
End = Annotated[dt.date | None, Parameter(help="Last day of the season, YYYY-MM-DD.")]
Clouds = Annotated[
    Literal["scl", "probability"] | None,
    Parameter(help="What masks clouds: the scene classification, or a probability (Earth Search)."),
]
Weather = Annotated[
    str | None,
    Parameter(
        help="Where the weather is, if not in the archive: arco-era5, earth-data-hub, a Zarr "
        "store or another archive."
    ),
]
Verbose = Annotated[
    bool, Parameter(negative="", help="Print scores of each class and the confusion matrix.")
]
AllowGaps = Annotated[
    bool,
    Parameter(
        negative="",
        help="Go on where the archive covers less of the season than the model's training did.",
    ),
]
Overwrite = Annotated[bool, Parameter(negative="", help="Replace an earlier result.")]


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1."""
    with lenient_streams(), _short_warnings():
        try:
            app(sys.argv[1:], console=Terminal(), error_console=Terminal(stderr=True))
        except CubecropError as error:
            console = Terminal(stderr=True)
            console.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
            # No markup, since paths hold brackets, and no line that is cut to the terminal's.
            console.out(printable(error), highlight=False)
            sys.exit(1)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Let warnings be told in our form while a command runs."""
    before = warnings.formatwarning
    warnings.formatwarning = _warning_text  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = before


def _warning_text(message: Warning | str, *_: object) -> str:
    """A warning as one message, without the line of ours that gave it."""
    return f"warning: {printable(message)}\n"


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
    result = cubecrop.demo(out, seed=seed)
    console = plain_console()
    _print_scores(console, result.model, verbose=verbose)
    console.print(demo_text(result.model))
    console.print(
        f"Map: {result.pixels.accuracy:.1%} of the {result.pixels.n:,} pixels in held-out parcels "
        "are right, by the crops that really grew. The archive is simulated; what its scores say "
        "of real crops is on the page about the simulator."
    )
    console.print(f"Written to {result.folder}: see {result.folder / 'demo.png'}")


@app.command
def search(
    *,
    aoi: Aoi,
    year: Year,
    archive: Archive,
    start: Start = None,
    end: End = None,
    weather: Weather = None,
    low_cloud: float = 20,
    timeline: Path | None = None,
    cache: Path | None = None,
) -> None:
    """Show what an archive has of an area and a season: dates, clouds, orbits, gaps.

    Parameters
    ----------
    low_cloud
        Percent of cloud up to which a scene counts as one that shows the ground.
    timeline
        PNG to draw the dates to.
    cache
        Folder that keeps the answers of a STAC API for the next search.
    """
    from cubecrop.archive.acquisitions import check_low_cloud

    check_low_cloud(low_cloud)
    if timeline is not None:
        from cubecrop.write.timeline import check_timeline_path

        check_timeline_path(timeline)
    scenes = cubecrop.search(
        aoi, _season(year, start, end) or year, archive=archive, weather=weather, cache=cache
    )
    found = cubecrop.availability(scenes, low_cloud=low_cloud)
    console = plain_console()
    if len(found):
        console.print(found_table(scenes, found, low_cloud))
        console.print(
            "A gap is days on end without an acquisition; of Sentinel-2, without one of at most "
            f"{low_cloud:g} % cloud in the whole scene."
        )
    others = [f"{modality} ({len(scenes.of(modality))})" for modality in ("weather", "terrain")
              if scenes.of(modality)]  # fmt: skip
    console.print(f"Besides: {', '.join(others) or 'neither weather nor terrain'}.")
    if scenes.superseded:
        console.print(f"{len(scenes.superseded)} older processings are left out.")
    if timeline is not None:
        from cubecrop.write import write_timeline

        write_timeline(scenes, timeline, low_cloud=low_cloud)
        console.print(f"Drawn to {timeline}")


@app.command
def train(
    parcels: Path,
    *,
    label: str,
    out: Path,
    year: Annotated[int | None, Parameter(help="Harvest year, with --archive.")] = None,
    archive: Annotated[str | None, Parameter(help=_ARCHIVE)] = None,
    start: Start = None,
    end: End = None,
    held_out: float = 0.3,
    epochs: int | None = None,
    composite: Literal["dekad", "month"] | None = None,
    may_be_missing: Annotated[
        tuple[Literal["sentinel2", "sentinel1"], ...], Parameter(negative="", show_default=False)
    ] = (),
    seed: int = 0,
    checkpoint: Path | None = None,
    cache: Path | None = None,
    clouds: Clouds = None,
    weather: Weather = None,
    nomenclature: Path | None = None,
    overwrite: Overwrite = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on declared parcels and write it to a folder.

    It learns from weather where --weather says where that is, which may be the archive itself.

    Parameters
    ----------
    parcels
        With --archive and --year, a vector file with a unique id, a CRS and the label. Without
        them a table of samples: a Parquet file in a form of WorldCereal, or a folder with DATA
        and META.
    label
        Column (of a folder: nomenclature) that holds the crop.
    out
        Folder to write the model to.
    held_out
        Share of each class's parcels that is only scored.
    epochs
        Passes over the parcels; by default as many as settle the network.
    composite
        Learn from one step a period in place of every date.
    may_be_missing
        Sensors that the model is to do without where they are missing.
    seed
        Same input and seed, same model.
    checkpoint
        Folder for the state after each epoch and for metrics.csv; the same command goes on
        from there where it was stopped.
    cache
        Folder that keeps the pixels drawn from an archive, for the next training.
    nomenclature
        CSV with the columns code, name and colour of the crops; labels are codes or names.
    """
    from cubecrop.files import check_free
    from cubecrop.model import MODEL_FILES, NetworkOptions

    check_free(out, files=MODEL_FILES, overwrite=overwrite)
    network = NetworkOptions(weather=weather is not None)
    config = cubecrop.TrainConfig(network=network, epochs=epochs, may_be_missing=may_be_missing)
    if archive is None:
        if year or start or end or composite or cache or clouds or weather:
            raise LabelError(
                "--year, --start, --end, --composite, --clouds, --weather and --cache are of "
                "parcels in an archive, and there is no --archive. Name it, or leave these out to "
                "train on a table of samples."
            )
        model = cubecrop.train_table(
            parcels,
            label,
            held_out=held_out,
            nomenclature=nomenclature,
            config=config,
            seed=seed,
            checkpoint=checkpoint,
        )
    elif year is None:
        raise LabelError("--archive is given without --year: say which year's harvest to learn.")
    else:
        model = cubecrop.train(
            parcels,
            label,
            year,
            archive=archive,
            season=_season(year, start, end),
            held_out=held_out,
            nomenclature=nomenclature,
            config=config,
            weather=weather,
            composite=composite,
            clouds=clouds or "scl",
            seed=seed,
            checkpoint=checkpoint,
            cache=cache,
        )
    model.save(out, overwrite=overwrite)
    console = plain_console()
    _print_scores(console, model, verbose=verbose)
    if nomenclature is not None:
        console.print(
            f"The model tells {len(model.nomenclature)} crops apart; what else {nomenclature.name} "
            "lists, no parcel has."
        )
    print_calibration(console, model)
    console.print(f"Model {model.digest[:12]} written to {out}")


@app.command
def classify_parcels(
    parcels: Path,
    *,
    year: Year,
    archive: Archive,
    model: Path,
    out: Path,
    start: Start = None,
    end: End = None,
    clouds: Clouds = None,
    weather: Weather = None,
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
        Folder of a trained model.
    out
        File to write: GeoParquet (.parquet) or GeoPackage (.gpkg).
    columns
        fiboa for names such as crop:name, plain for names such as predicted_crop.
    """
    from cubecrop.sample import read_parcels
    from cubecrop.write.parcels import check_parcel_path, check_table
    from cubecrop.write.shares import predicted_text

    check_parcel_path(out, overwrite=overwrite)
    given = read_parcels(parcels)
    check_table(given, out, columns=columns)
    crop_model = cubecrop.CropModel.load(model)
    table = cubecrop.classify_parcels(
        given,
        year,
        archive=archive,
        model=crop_model,
        season=_season(year, start, end, crop_model),
        clouds=clouds,
        weather=weather,
        allow_gaps=allow_gaps,
    )
    cubecrop.write_parcels(table, out, columns=columns, overwrite=overwrite)
    console = plain_console()
    print_calibration(console, crop_model)
    for line in predicted_text(table["status"].tolist()):
        console.print(line)
    console.print(f"Written to {out}")


@app.command
def classify(
    *,
    aoi: Aoi,
    year: Year,
    archive: Archive,
    model: Path,
    out: Path,
    start: Start = None,
    end: End = None,
    resolution: float | None = None,
    crs: str | None = None,
    max_lost: float = 0,
    clouds: Clouds = None,
    weather: Weather = None,
    allow_gaps: AllowGaps = False,
    overwrite: Overwrite = False,
) -> None:
    """Map the crops of an area and write the map to a folder.

    Parameters
    ----------
    model
        Folder of a trained model.
    out
        Folder to write the map to.
    resolution
        Pixel size in metres; by default that of the model's training, or 10.
    crs
        Projected CRS such as EPSG:32631; by default the UTM zone of the area.
    max_lost
        Share of the items, 0 to 1, that may be unreadable; they are listed in item.json.
    """
    from cubecrop.files import check_free
    from cubecrop.write.crop_map import MAP_FILES
    from cubecrop.write.shares import mapped_text

    check_free(out, files=MAP_FILES, overwrite=overwrite)
    check_share("max_lost", max_lost, whole=True, error=SchemaError)
    crop_model = cubecrop.CropModel.load(model)
    crop_map = cubecrop.classify(
        aoi,
        year,
        archive=archive,
        model=crop_model,
        season=_season(year, start, end, crop_model),
        resolution=resolution,
        crs=crs,
        clouds=clouds,
        weather=weather,
        allow_gaps=allow_gaps,
    )
    cubecrop.write_map(crop_map, out, max_lost=max_lost, overwrite=overwrite)
    console = plain_console()
    print_calibration(console, crop_model)
    for line in mapped_text(out / "item.json"):
        console.print(line)
    console.print(f"Written to {out}: see {out / 'quicklook.png'}")


@app.command
def simulate(
    *,
    out: Path,
    preset: str = "demo",
    region: Annotated[list[str] | None, Parameter(negative="")] = None,
    year: Annotated[list[int] | None, Parameter(negative="")] = None,
    size_km: float | None = None,
    seed: int = 0,
) -> None:
    """Simulate an archive of crops, weather, radar and cloud, with its true crops.

    Parameters
    ----------
    out
        Folder to write; must be missing or empty.
    preset
        demo, regions, years, cloudy or no-sentinel-1b; what else is given replaces its part.
    region
        flanders, normandy, bavaria, aquitaine, ontario or maritimes; may be given again.
    year
        Harvest year; may be given again.
    size_km
        Side of each region's square in kilometres, 0.5 to 20.
    seed
        Same seed, same bytes.
    """
    cubecrop.simulate_archive(
        out, preset=preset, regions=region, years=year, size_km=size_km, seed=seed
    )
    plain_console().print(f"Written to {out}")


def _season(
    year: int, start: dt.date | None, end: dt.date | None, model: cubecrop.CropModel | None = None
) -> Season | None:
    """The season between two days; what is not given is as a model has it."""
    if not start and not end:
        return None
    if model is not None and model.season_window is not None:
        usual = Season(year).with_window(model.season_window)
        start, end = start or usual.start, end or usual.end
    return Season(year, start=start, end=end)  # type: ignore[arg-type]


def _print_scores(console: Console, model: cubecrop.CropModel, *, verbose: bool = False) -> None:
    from cubecrop.scoreboard import print_classes, print_scores

    print_scores(console, model)
    if verbose:
        print_classes(console, model)
