"""Writing a map is one computation, leaves all or nothing, and refuses what is no map."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from crop_maps import fake_map, lazy, map_with_a_mark, names, random_classes, read_item

from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.nomenclature import NODATA
from cubecrop.write import write_map
from cubecrop.write.shares import mapped_text

# rasterio 1.4 multiplies transforms in a way that affine 3 announces the end of.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

# --- one computation, all or nothing ------------------------------------------------------


def test_each_block_is_computed_once_and_probability_never(tmp_path):
    seen = Counter()
    crop_type, confidence = lazy(random_classes(96, 64), seen=seen)
    dataset = fake_map(crop_type, confidence)
    never, _ = lazy(random_classes(96, 64), fail=AssertionError("probability was computed"))
    dataset["probability"] = ("crop", "y", "x"), never[None].astype("float32")
    write_map(dataset, tmp_path / "map")
    assert len(seen) == 6
    assert set(seen.values()) == {1}


def full_disk(*_, **__):
    raise OSError("no space left")


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("cubecrop.write.crop_map.write_item", full_disk)
    with pytest.raises(OutputError, match="map cannot be written: no space left"):
        write_map(fake_map(random_classes(8, 8)), tmp_path / "map")
    assert names(tmp_path) == []


def test_failed_swap_keeps_the_old_map(tmp_path, monkeypatch):
    dataset = fake_map(random_classes(8, 8))
    out = write_map(dataset, tmp_path / "map")
    before = (out / "item.json").read_bytes()
    rename = Path.rename

    def refuse(path, target):
        return full_disk() if path.suffix == ".part" else rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="no space left"):
        write_map(dataset, out, overwrite=True)
    assert names(tmp_path) == ["map"]
    assert (out / "item.json").read_bytes() == before


def test_failing_computation_leaves_nothing_and_raises_as_it_is(tmp_path):
    error = ReadError("item S2A_1, asset B02: cannot be read")
    dataset = fake_map(*lazy(random_classes(32, 32), fail=error))
    with pytest.raises(ReadError, match="S2A_1, asset B02"):
        write_map(dataset, tmp_path / "map")
    assert names(tmp_path) == []


@pytest.mark.parametrize("moment", ["computing", "writing"])
def test_killed_run_leaves_no_map(tmp_path, moment):
    script = """
        import sys, time, pathlib
        sys.path.insert(0, sys.argv[1])
        import crop_maps as t, cubecrop.write.crop_map as c
        def wait(*a, **k):
            pathlib.Path(sys.argv[2], "started").touch()
            time.sleep(60)
            return a[0]
        values = t.da.from_array(t.random_classes(32, 32))
        if sys.argv[3] == "computing":
            values = values.map_blocks(wait, dtype="uint8", meta=t.np.empty((0, 0), "uint8"))
        c.write_item = wait
        confidence = t.da.where(values == 255, t.np.float32("nan"), t.np.float32(0.5))
        c.write_map(t.fake_map(values, confidence), pathlib.Path(sys.argv[2], "map"))
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parent),
         str(tmp_path), moment],
    )  # fmt: skip
    try:
        for _ in range(600):
            if (tmp_path / "started").exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        assert (tmp_path / "started").exists()
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert not (tmp_path / "map").exists()


def test_empty_folder_is_filled_and_a_filled_one_refused(tmp_path):
    dataset = fake_map(random_classes(8, 8))
    out = tmp_path / "map"
    out.mkdir()
    write_map(dataset, out)
    crop_type, confidence = lazy(random_classes(8, 8), fail=AssertionError("computed"))
    with pytest.raises(OutputError, match=r"map holds .*overwrite=True"):
        write_map(fake_map(crop_type, confidence), out)
    assert names(tmp_path) == ["map"]


def test_overwrite_swaps_an_earlier_map_and_nothing_else(tmp_path):
    out = tmp_path / "map"
    write_map(fake_map(np.zeros((8, 8), "uint8")), out)
    write_map(fake_map(np.ones((8, 8), "uint8")), out, overwrite=True)
    with rasterio.open(out / "crop_type.tif") as raster:
        assert (raster.read(1) == 1).all()
    assert names(tmp_path) == ["map"]
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"'notes\.txt', which cubecrop did not write"):
        write_map(fake_map(np.zeros((8, 8), "uint8")), out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_file_is_no_place_for_a_map(tmp_path):
    (tmp_path / "map").write_text("")
    with pytest.raises(OutputError, match="map is a file, expected a folder"):
        write_map(fake_map(random_classes(8, 8)), tmp_path / "map", overwrite=True)


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize("code", [4, 253])
def test_extra_codes_of_the_flags_are_no_class(tmp_path, code):
    values = random_classes(8, 8)
    out = write_map(map_with_a_mark(values, code=code), tmp_path / "map")
    classes = read_item(out)["assets"]["crop_type"]["classification:classes"]
    (mark,) = (one for one in classes if one["value"] == code)
    assert (mark["name"], mark["title"], mark["count"]) == ("not_cropland", "Not cropland", 3)
    nodata = int((values[:7] == NODATA).sum() + (values[7, 3:] == NODATA).sum())
    (line,) = mapped_text(out / "item.json")
    assert line.startswith(f"Mapped {100 * (61 - nodata) / 64:.1f} % of 64 pixels: ")
    assert "4.7 % not cropland" in line
    # A code that no flag names is refused.
    with pytest.raises(OutputError, match=f"3 of 64 pixels have a class index of {code}, "):
        write_map(map_with_a_mark(values, code=code, named=code + 1), tmp_path / "other")


def test_nodata_is_never_a_class(tmp_path):
    values = random_classes(8, 8)
    values[7, :3] = 4
    with pytest.raises(
        OutputError, match=r"3 of 64 pixels have a class index of 4, expected 0 to 3, 254 \(too few"
    ):
        write_map(fake_map(values), tmp_path / "map")
    values = random_classes(8, 8)
    confidence = np.where(values == NODATA, np.nan, 0.5).astype("float32")
    confidence[0, 0], confidence[7, :2] = 0.5, np.nan
    with pytest.raises(OutputError, match="2 pixels have a class but no confidence and 1 have"):
        write_map(fake_map(values, confidence), tmp_path / "map")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.drop_vars("confidence"), r"cubecrop.classify\(...\)"),
        (lambda d: d.transpose("x", "y"), r"dims \('x', 'y'\), expected \('y', 'x'\)"),
        (lambda d: d.isel(x=slice(0)), r"shape \(8, 0\), expected at least one pixel"),
        (lambda d: d.assign(crop_type=d.crop_type.astype("int16")), "expected uint8. Convert"),
        (lambda d: d.drop_vars("x"), "no coordinate 'x'"),
        (lambda d: d.drop_vars("spatial_ref"), "no CRS, expected a projected one"),
        (lambda d: d.rio.write_crs("EPSG:4326"), "CRS EPSG:4326, expected a projected"),
        (lambda d: d.sortby("y"), "expected descending. Reorder with"),
        (lambda d: d.isel(x=[0, 1, 3]), "steps from 10.0 to 20.0, expected equal"),
        (lambda d: d.isel(x=[0], y=[0]), "one pixel, whose size is unknown"),
        (lambda d: d.drop_attrs(deep=False), "expected .*'model_digest'"),
        (lambda d: d.assign_attrs(item_hrefs=[]), "3 items and 0 item_hrefs"),
        (lambda d: d.assign_attrs(season_end="soon"), "to 'soon', expected a harvest year"),
        (lambda d: d.assign_attrs(nomenclature="{}"), "'nomenclature' cannot be read"),
        (lambda d: d.crop_type, "is a DataArray, expected the xarray.Dataset"),
    ],
)
def test_other_datasets_are_refused_before_any_pixel_is_read(tmp_path, spoil, message):
    dataset = fake_map(*lazy(random_classes(8, 8)))

    def scheduler(*_, **__):
        raise AssertionError("computed")

    with dask.config.set(scheduler=scheduler), pytest.raises(SchemaError, match=message):
        write_map(spoil(dataset), tmp_path / "map")
