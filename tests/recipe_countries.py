"""Two simulated countries, their parcels and images over HTTP, and recipes of them."""

import geopandas as gpd
import pytest
from servers import Faulty, over_http

import cubecrop

TOP = """
name = "two countries"
licence = "CC-BY-4.0"
label = "crop:code"
codes = "rpg"
composite = "month"
most = 6
epochs = 2
"""
SOURCE = """
[[source]]
region = "{region}"
year = {year}
parcels = "{parcels}"
archive = "{archive}"
bbox = {bbox}
"""
BOXES = {"flanders": [2.0, 50.0, 4.0, 51.5], "aquitaine": [-1.0, 43.0, 1.0, 45.0]}


@pytest.fixture(scope="session")
def countries(tmp_path_factory):
    """Two regions and two years, with parcels as GeoParquet with a covering of boxes."""
    root = tmp_path_factory.mktemp("countries")
    place = cubecrop.simulate_archive(
        root / "archive", regions=list(BOXES), years=[2023, 2024], size_km=0.5, seed=4,
        progress=False,
    )  # fmt: skip
    for year in (2023, 2024):
        declared = gpd.read_parquet(place / f"parcels-{year}.parquet").to_crs("EPSG:3035")
        declared.rename(columns={"id": "field"}).to_parquet(
            root / f"parcels-{year}.parquet", write_covering_bbox=True
        )
    return root


@pytest.fixture(scope="session")
def countries_running(countries):
    with Faulty(countries) as server:
        yield server


@pytest.fixture(scope="session")
def countries_archive(countries_running, countries):
    """Items whose files the server gives."""
    url = f"{countries_running.url}/archive"
    return over_http(countries / "archive", countries, url)


@pytest.fixture
def countries_server(countries_running):
    countries_running.asked.clear()
    return countries_running


def recipe_of(folder, server, archive, *, top=TOP, years=(2023, 2024), end=""):
    text = top + "".join(
        SOURCE.format(
            region=region, year=year, parcels=f"{server.url}/parcels-{year}.parquet",
            archive=archive, bbox=BOXES[region],
        ) + 'id = "field"\n'
        for region in BOXES for year in years
    )  # fmt: skip
    path = folder / "recipe.toml"
    path.write_text(text + end)
    return path
