"""Parts of files with parcels, on disk and over HTTP."""

import geopandas as gpd
import numpy as np
import pytest
import shapely

from cubecrop.errors import AoiError, ReadError
from cubecrop.vector import read_part


def test_a_part_of_a_file_is_fetched_by_its_boxes(countries_server, countries):
    x, y = np.random.default_rng(0).uniform(0, 1, (2, 20_000))
    east = np.arange(20_000) >= 10_000
    shapes = shapely.buffer(shapely.points(x + 10 * east, y + 45), 0.001)
    fields = gpd.GeoDataFrame({"field": range(20_000)}, geometry=shapes, crs="EPSG:4326")
    fields.to_crs("EPSG:3035").to_parquet(
        countries / "fields.parquet", write_covering_bbox=True, row_group_size=5000
    )
    found = read_part(
        f"{countries_server.url}/fields.parquet", bbox=(0, 44, 2, 47), columns=["field"]
    )
    assert found["field"].tolist() == list(range(10_000))
    assert found.crs == "EPSG:3035"
    sent = 0
    for method, path, asked in countries_server.asked:
        assert path == "/fields.parquet"
        if method == "GET":
            first, last = asked.removeprefix("bytes=").split("-")
            sent += int(last) - int(first) + 1
    assert sent < 0.8 * (countries / "fields.parquet").stat().st_size


def test_a_parcel_belongs_to_the_part_with_its_inner_point(tmp_path):
    boxes = [shapely.box(0.0, 0.0, 0.2, 0.1), shapely.box(0.8, 0.0, 1.6, 0.1)]
    table = gpd.GeoDataFrame({"id": [1, 2]}, geometry=boxes, crs="EPSG:4326")
    table.to_file(tmp_path / "parcels.gpkg")
    assert read_part(tmp_path / "parcels.gpkg", bbox=(0, 0, 1, 1))["id"].tolist() == [1]
    with pytest.raises(AoiError, match=r"lacks the columns \['crop'\]"):
        read_part(tmp_path / "parcels.gpkg", columns=["crop"])


def test_a_rectangle_may_cross_the_180th_meridian(tmp_path):
    boxes = [shapely.box(x, -18.1, x + 0.1, -18) for x in (10, 178.5, -179.5)]
    table = gpd.GeoDataFrame({"id": [1, 2, 3]}, geometry=boxes, crs="EPSG:4326")
    table.to_parquet(tmp_path / "fiji.parquet")
    found = read_part(tmp_path / "fiji.parquet", bbox=(177, -20, -178, -16))
    assert found["id"].tolist() == [2, 3]


def test_addresses_that_give_no_parcels_say_so(countries_server, countries):
    with pytest.raises(ReadError, match=r"does not answer.*download"):
        read_part(f"{countries_server.url}/absent.parquet")
    (countries / "fields.gpkg").write_bytes(b"SQLite format 3\0" * 100)
    with pytest.raises(AoiError, match="cannot be read as GeoParquet"):
        read_part(f"{countries_server.url}/fields.gpkg")
    with pytest.raises(AoiError, match=r"lacks the columns \['crop'\]"):
        read_part(f"{countries_server.url}/parcels-2024.parquet", columns=["crop"])
