"""Answers of STAC APIs kept on disk: requested once, exact, complete, and renewed."""

import datetime as dt
import json
from pathlib import Path

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import shapely
from servers import stac_api

from cubecrop.archive import CachedArchive, open_archive, search, search_cache
from cubecrop.archive.api import StacApiArchive
from cubecrop.archive.base import Extent
from cubecrop.archive.providers import LOCAL
from cubecrop.errors import ArchiveError
from cubecrop.testing import Optical, Place, write_archive

ITEMS = Path(__file__).parents[1].parent / "shared" / "data" / "stac-items"
AREA = shapely.box(3, 50, 4, 51)
YEAR = dt.datetime(2018, 1, 1, tzinfo=dt.UTC), dt.datetime(2018, 12, 31, tzinfo=dt.UTC)


class Api:
    """A STAC API that counts how often it is asked, and may be out of reach."""

    name = "https://stac.example.org"
    provider = LOCAL
    whole = Extent((3.0, 50.0, 4.0, 51.0), *YEAR)

    def __init__(self, items):
        self.found, self.asked, self.gone = items, 0, False

    def items(self, collections, area, interval):
        self.asked += 1
        if self.gone:
            raise ArchiveError("out of reach")
        yield from self.found

    def extent(self, collections):
        self.asked += 1
        if self.gone:
            raise ArchiveError("out of reach")
        return self.whole


def item(name="a", **properties):
    ring = [[[3, 50], [4, 50], [4, 51], [3, 51], [3, 50]]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": ring}, "bbox": [3, 50, 4, 51], "links": [],
        "properties": {"datetime": "2018-05-01T10:00:00Z", "eo:cloud_cover": 5, **properties},
        "assets": {"B02": {"href": "https://example.org/B02.tif", "empty": {}, "size": [1, 2]}},
    }  # fmt: skip


def ask(archive, area=AREA, interval=YEAR, collections=("sentinel-2-l2a",)):
    return list(archive.items(collections, area, interval))


def test_the_same_query_is_sent_once_and_answered_exactly(tmp_path):
    items = [item("a", mixed=1), item("b", mixed="text", nothing=None)]
    api = Api(items)
    archive = CachedArchive(api, tmp_path / "new" / "cache")
    assert ask(archive) == ask(archive) == items
    assert api.asked == 1
    (path,) = (tmp_path / "new" / "cache").iterdir()
    table = gpd.read_parquet(path)  # which others may read, too
    assert list(table["id"]) == ["a", "b"]
    assert table.crs.to_epsg() == 4326
    assert table.geometry.iloc[0].equals(AREA)


def test_every_part_of_the_query_counts(tmp_path):
    api = Api([item()])
    archive = CachedArchive(api, tmp_path)
    ask(archive)
    ask(archive, area=shapely.box(3, 50, 4, 51.1))
    ask(archive, interval=(YEAR[0], YEAR[1] + dt.timedelta(days=1)))
    ask(archive, interval=None)
    ask(archive, collections=["sentinel-2-l2a", "cop-dem-glo-30"])
    api.name = "https://other.example.org"
    ask(archive)
    assert api.asked == 6 == len(list(tmp_path.iterdir()))
    api.name = Api.name
    ask(archive, area=shapely.normalize(AREA.reverse()))
    ask(archive, collections=["cop-dem-glo-30", "sentinel-2-l2a"])
    assert api.asked == 6


@pytest.mark.parametrize("harm", ["cut", "empty", "row", "changed", "other"])
def test_a_damaged_file_is_asked_for_again(tmp_path, harm):
    api = Api([item("a"), item("b")])
    archive = CachedArchive(api, tmp_path)
    ask(archive)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "row":
        pq.write_table(pq.read_table(path).slice(0, 1), path)
    elif harm == "changed":
        table = pq.read_table(path)
        texts = [json.dumps(item("a")), json.dumps(item("c"))]
        at = table.schema.get_field_index("item")
        pq.write_table(table.set_column(at, "item", [texts]), path)
    else:  # the answer to another question, under this one's name
        ask(archive, interval=None)
        (other,) = set(tmp_path.iterdir()) - {path}
        path.write_bytes(other.read_bytes())
        api.asked = 1
    assert [one["id"] for one in ask(archive)] == ["a", "b"]
    assert api.asked == 2
    ask(archive)
    assert api.asked == 2


def test_an_answer_holds_without_a_network(tmp_path):
    api = Api([item()])
    archive = CachedArchive(api, tmp_path)
    api.gone = True
    with pytest.raises(ArchiveError, match="out of reach"):
        ask(archive)
    assert not list(tmp_path.iterdir())
    api.gone = False
    first = ask(archive)
    api.gone = True
    assert ask(archive) == first


def test_an_answer_about_the_present_is_renewed_after_a_day(tmp_path, monkeypatch):
    api, clock = Api([item()]), [dt.datetime(2018, 7, 1, tzinfo=dt.UTC)]

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return clock[0]

    monkeypatch.setattr(search_cache.dt, "datetime", Clock)
    archive = CachedArchive(api, tmp_path)
    ask(archive)
    clock[0] += dt.timedelta(hours=23)
    ask(archive)
    assert api.asked == 1
    clock[0] += dt.timedelta(hours=2)
    api.gone = True
    with pytest.warns(UserWarning, match="does not answer, so the answer of 2018-07-01"):
        assert len(ask(archive)) == 1
    api.gone, api.found = False, [item("a"), item("b")]
    assert len(ask(archive)) == 2
    clock[0] = dt.datetime(2019, 1, 20, tzinfo=dt.UTC)  # over, but not settled
    ask(archive)
    clock[0] = dt.datetime(2019, 3, 1, tzinfo=dt.UTC)
    asked = api.asked
    ask(archive)
    assert api.asked == asked + 1
    clock[0] = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    ask(archive)
    assert api.asked == asked + 1


def test_an_extent_is_kept_for_a_day_and_longer_without_a_network(tmp_path, monkeypatch):
    api = Api([])
    archive = CachedArchive(api, tmp_path / "cache")
    assert archive.extent(["b", "a"]) == archive.extent(["a", "b"]) == Api.whole
    assert api.asked == 1
    assert archive.extent(["a"]) == Api.whole  # another question
    assert api.asked == 2
    api.gone = True
    assert archive.extent(["a"]) == Api.whole
    monkeypatch.setattr(search_cache, "_FRESH", -dt.timedelta(days=1))
    with pytest.warns(UserWarning, match="does not answer"):
        assert archive.extent(["a"]) == Api.whole
    with pytest.raises(ArchiveError, match="out of reach"):
        archive.extent(["c"])
    api.gone, api.whole = False, None
    assert archive.extent(["a"]) is None
    monkeypatch.undo()
    asked = api.asked
    assert archive.extent(["a"]) is None
    assert api.asked == asked
    for path in (tmp_path / "cache").iterdir():
        path.write_text(path.read_text()[:-30])
    assert archive.extent(["a"]) is None
    assert api.asked == asked + 1


def test_an_empty_answer_holds_for_a_day(tmp_path, monkeypatch):
    api = Api([])
    archive = CachedArchive(api, tmp_path)
    assert ask(archive) == ask(archive) == []
    assert api.asked == 1
    monkeypatch.setattr(search_cache, "_FRESH", -dt.timedelta(days=1))
    api.gone = True
    with pytest.warns(UserWarning, match="does not answer"):
        assert ask(archive) == []
    api.gone, api.found = False, [item()]
    assert ask(archive) == ask(archive) == [item()]
    assert api.asked == 3


def test_malformed_items_are_not_kept(tmp_path):
    for items in ([item() | {"properties": None}], [item() | {"geometry": {"type": "Blob"}}]):
        archive = CachedArchive(Api(items), tmp_path)
        assert ask(archive) == items
        assert not list(tmp_path.iterdir())


def test_only_stac_apis_are_kept(tmp_path):
    folder = write_archive(tmp_path / "a", [Optical(when="2018-05-01T10:56:21Z")])
    assert len(search(Place().bbox, 2018, archive=folder, cache=tmp_path / "cache")) == 1
    assert not (tmp_path / "cache").exists()
    archive = open_archive("earth-search", cache=tmp_path / "cache")
    assert isinstance(archive, CachedArchive)
    assert isinstance(archive.archive, StacApiArchive)
    assert archive.provider.name == "earth-search"
    assert open_archive(archive) is archive


@pytest.mark.parametrize("folder", ["pc__sentinel-2-l2a", "pc__sentinel-1-rtc", "pc__era5-pds",
    "es1__sentinel-2-c1-l2a", "cdse__sentinel-2-l2a", "pc__cop-dem-glo-30"])  # fmt: skip
def test_real_items_come_back_as_they_were(tmp_path, folder):
    if not ITEMS.is_dir():
        pytest.skip(f"no real items at {ITEMS}")
    items = [json.loads(path.read_text()) for path in sorted((ITEMS / folder).glob("*.json"))]
    assert items
    api = Api(items)
    archive = CachedArchive(api, tmp_path)
    assert ask(archive) == ask(archive) == items
    assert api.asked == 1


def test_a_real_api_is_searched_again_after_it_is_gone(tmp_path):
    folder = write_archive(tmp_path / "a", [Optical(when="2018-05-01T10:56:21Z")])
    files = sorted((folder / "sentinel-2-l2a").rglob("*.json"))
    for path in files:
        record = json.loads(path.read_text())
        for asset in record.get("assets", {}).values():
            asset["href"] = str((path.parent / asset["href"]).resolve())
        path.write_text(json.dumps(record | {"links": []}))
    with stac_api(*files) as url:
        first = search(Place().bbox, 2018, archive=url, cache=tmp_path / "cache")
        kept = open_archive(url, cache=tmp_path / "cache")
        extent = kept.extent(["sentinel-2-l2a"])
    assert len(first) == 1
    assert kept.extent(["sentinel-2-l2a"]) == extent
    assert extent.bbox == pytest.approx(Place().bbox)
    again = search(Place().bbox, 2018, archive=url, cache=tmp_path / "cache")
    assert again.scenes == first.scenes
    with pytest.raises(ArchiveError, match="did not answer"):
        search(Place().bbox, 2018, archive=url, modalities=["sentinel2"])
