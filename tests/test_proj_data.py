"""PROJ data of another program in environment variables."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import rasterio

from cubecrop.proj_data import leave_unusable_proj_data

OWN = Path(rasterio.__file__).parent / "proj_data"
if not (OWN / "proj.db").exists():
    pytest.skip("this rasterio has no PROJ data of its own", allow_module_level=True)


def layout(folder, minor):
    """A copy of the PROJ database that says that its layout is another."""
    folder.mkdir()
    shutil.copy(OWN / "proj.db", folder)
    with closing(sqlite3.connect(folder / "proj.db")) as database:
        database.execute(
            "UPDATE metadata SET value = ? WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'", (minor,)
        )
        database.commit()
    return folder


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
@pytest.mark.parametrize("first", ["cubecrop", "rasterio", "geopandas"])
def test_an_unusable_folder_is_removed_from_the_environment(tmp_path, name, first):
    code = (
        f"import os, {first}, cubecrop, rasterio.crs, pyproj\n"
        "print(rasterio.crs.CRS.from_epsg(32631).to_epsg(), pyproj.CRS(32631).to_epsg(),"
        f" {name!r} in os.environ)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.split() == ["32631", "32631", "False"]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("old", False), ("own", True), ("later", True), ("none", False), ("damaged", False),
     ("list", False), ("nothing", False)],
)  # fmt: skip
def test_a_usable_folder_stays_in_the_environment(tmp_path, monkeypatch, kind, kept):
    folder = {"own": OWN, "none": tmp_path / "absent", "nothing": ""}.get(kind)
    if kind == "old":
        folder = layout(tmp_path / "old", 1)
    elif kind == "later":
        folder = layout(tmp_path / "later", 99)
    elif kind == "list":
        folder = os.pathsep.join([str(tmp_path), str(OWN)])  # rasterio takes it for one name
    elif kind == "damaged":
        folder = tmp_path
        (folder / "proj.db").write_text("version https://git-lfs.github.com/spec/v1")
    monkeypatch.setenv("PROJ_DATA", str(folder))
    monkeypatch.setenv("PROJ_LIB", str(OWN))
    leave_unusable_proj_data()
    assert ("PROJ_DATA" in os.environ) == kept
    assert os.environ["PROJ_LIB"] == str(OWN)
