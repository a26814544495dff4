"""The result of a search as a table by series, and as a picture."""

import dataclasses
import datetime as dt
import io

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

import cubecrop
from cubecrop.archive.acquisitions import gaps_between
from cubecrop.errors import NoScenesError, OutputError, SchemaError
from cubecrop.season import Season
from cubecrop.testing import Optical, Place, Radar, write_archive

SEASON = Season(2018, start=dt.date(2018, 5, 1), end=dt.date(2018, 6, 30))


def optical(day, cloud, *, tile="31UES", orbit=51):
    found = {"eo:cloud_cover": cloud, "s2:mgrs_tile": tile, "sat:relative_orbit": orbit}
    return Optical(when=f"2018-{day}T10:56:21Z", id=f"{tile}-{day}-{orbit}", properties=found)


def radar(day, orbit=161):
    return Radar(when=f"2018-{day}T17:40:42Z", properties={"sat:relative_orbit": orbit})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    made = [
        optical("05-05", 10.0),
        optical("05-10", 90.0),
        optical("05-20", 20.0),
        optical("06-29", 20.1),
        optical("05-08", None, tile="31UET", orbit=94),
        radar("05-01"),
        radar("06-30"),
    ]
    folder = write_archive(tmp_path_factory.mktemp("archive"), made)
    return cubecrop.search(Place().bbox, SEASON, archive=folder)


def day(month, number):
    return dt.date(2018, month, number)


def test_gaps_are_the_days_between_and_at_the_edges_of_the_season():
    days = [day(5, 5), day(5, 20), day(5, 6), day(4, 1)]  # one is outside
    assert gaps_between(days, SEASON) == [
        (day(5, 1), day(5, 4)),
        (day(5, 7), day(5, 19)),
        (day(5, 21), day(6, 30)),
    ]
    assert gaps_between([], SEASON) == [(SEASON.start, SEASON.end)]
    every = [SEASON.start + dt.timedelta(days=n) for n in range(SEASON.n_days)]
    assert gaps_between(every, SEASON) == []


def test_each_series_has_a_row(scenes):
    found = cubecrop.availability(scenes).set_index("series")
    assert list(found.index) == [
        "Sentinel-2, all",
        "Sentinel-2 31UES R051",
        "Sentinel-2 31UET R094",
        "Sentinel-1 ascending R161",
    ]
    main = found.loc["Sentinel-2 31UES R051"]
    assert (main["scenes"], main["dates"], main["low_cloud_dates"]) == (4, 4, 2)
    assert (main["first"], main["last"]) == (day(5, 5), day(6, 29))
    assert main["cloud_cover"] == pytest.approx((20 + 20.1) / 2)
    assert (main["longest_gap"], main["gap_start"]) == (41, day(5, 21))
    assert main["gap_end"] == day(6, 30)
    # Cloud that is not stated is not low.
    unknown = found.loc["Sentinel-2 31UET R094"]
    assert unknown["low_cloud_dates"] == 0
    assert np.isnan(unknown["cloud_cover"])
    assert unknown["longest_gap"] == SEASON.n_days == 61
    assert found.loc["Sentinel-2, all", "dates"] == 5
    assert found.loc["Sentinel-1 ascending R161", "longest_gap"] == 59


def test_low_cloud_is_an_option(scenes):
    found = cubecrop.availability(scenes, low_cloud=95).set_index("series")
    assert found.loc["Sentinel-2 31UES R051", "low_cloud_dates"] == 4
    assert found.loc["Sentinel-2 31UES R051", "gap_start"] == day(5, 21)
    for wrong in (-1, 101, float("nan")):
        with pytest.raises(SchemaError, match="percent from 0 to 100"):
            cubecrop.availability(scenes, low_cloud=wrong)


def test_the_picture_holds_a_dot_a_date_and_the_gaps(scenes):
    (axes, bar) = cubecrop.plot_timeline(scenes, gap_days=20).axes
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [
        "Sentinel-2 31UES R051  (4)",
        "Sentinel-2 31UET R094  (1)",
        "Sentinel-1 ascending R161  (2)",
    ]
    bands = [one for one in axes.collections if isinstance(one, PolyCollection)]
    dots = [one for one in axes.collections if one not in bands]
    per_row = [sum((np.ma.getdata(d.get_offsets())[:, 1] == row).sum() for d in dots)
               for row in range(3)]  # fmt: skip
    assert per_row == [4, 1, 2]
    known = next(d for d in dots if d.get_array() is not None and len(d.get_array()))
    assert known.get_array().tolist() == [90.0, 20.1, 20.0, 10.0]
    assert [text.get_text() for text in axes.texts] == ["41 d", "61 d", "59 d"]
    assert len(bands) == 3
    assert bar.get_ylabel() == "cloud cover, %"


def test_a_season_of_radar_alone_has_no_colours_of_cloud(scenes):
    alone = dataclasses.replace(scenes, scenes=scenes.of("sentinel1"))
    assert len(cubecrop.plot_timeline(alone).axes) == 1
    with pytest.raises(NoScenesError, match="no satellite scene to draw"):
        cubecrop.plot_timeline(dataclasses.replace(scenes, scenes=()))
    assert len(cubecrop.availability(dataclasses.replace(scenes, scenes=()))) == 0


def test_many_series_stay_readable(scenes):
    one = scenes.of("sentinel2")[0]
    many = tuple(dataclasses.replace(one, tile=f"31U{n:02d}", id=str(n)) for n in range(100))
    figure = cubecrop.plot_timeline(dataclasses.replace(scenes, scenes=many))
    assert len(figure.axes[0].get_yticklabels()) == 60
    assert "the first 60 of 100 series" in figure.axes[0].get_title(loc="left")


def test_the_command_writes_table_and_picture(scenes, tmp_path, capsys):
    from cubecrop import cli

    west, south, east, north = Place().bbox
    common = [f"--aoi={west},{south},{east},{north}", "--year=2018", "--start=2018-05-01",
              "--end=2018-06-30", f"--archive={scenes.archive}"]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        cli.app(["search", *common, f"--timeline={tmp_path / 'seen.png'}"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "Sentinel-2 31UES R051" in out
    assert "41 days" in out
    picture = imread(tmp_path / "seen.png")
    assert picture.shape[1] == 1650
    assert [path.name for path in tmp_path.iterdir()] == ["seen.png"]
    with pytest.raises(OutputError, match=r"Name it 'timeline\.png'"):
        cli.app(["search", *common, "--timeline=."])
    with pytest.raises(OutputError, match=r"does not end in .png"):
        cli.app(["search", *common, f"--timeline={tmp_path / 'seen.jpg'}"])


def test_the_table_fits_a_terminal_of_80_columns(scenes):
    from rich.console import Console

    from cubecrop import printing

    down = [dataclasses.replace(one, orbit_state="descending") for one in scenes.of("sentinel1")]
    both = dataclasses.replace(scenes, scenes=(*scenes, *down))
    text = io.StringIO()
    found = cubecrop.availability(both)
    Console(width=80, file=text).print(printing.found_table(both, found, 20))
    assert "Sentinel-1 descending R161" in text.getvalue()
    assert "…" not in text.getvalue()


@pytest.mark.parametrize("name", [r"a $\frac{", "/home/someone/a $x_", "大豆 \x1b[1m", "x" * 5000])
def test_untrusted_text_is_plain_text_in_the_picture(scenes, name):
    tiles = [
        dataclasses.replace(scene, tile="31$\\frac{" if scene.tile == "31UES" else scene.tile)
        for scene in scenes
    ]
    odd = dataclasses.replace(scenes, archive=name, scenes=tuple(tiles))
    figure = cubecrop.plot_timeline(odd)
    figure.savefig(io.BytesIO(), format="png")
    axes = figure.axes[0]
    title = axes.get_title(loc="left")
    assert "season 2018" in title
    assert "someone" not in title
    assert len(title) < 120
    assert any("31$\\frac{" in label.get_text() for label in axes.get_yticklabels())
