"""What importing costs, and the public names."""

import subprocess
import sys

import pytest

import cubecrop

HEAVY = (
    "torch", "distributed", "stackstac", "xarray", "rasterio", "matplotlib", "geopandas", "pandas",
    "numpy",
)  # fmt: skip


@pytest.mark.parametrize("module", ["cubecrop", "cubecrop.cli"])
def test_import_is_light(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_alone_are_listed():
    special = {name for name in dir(cubecrop) if name.startswith("__") and name.endswith("__")}
    assert set(dir(cubecrop)) - special == set(cubecrop.__all__)
    assert {"NetworkOptions", "plot_map"} <= set(cubecrop.__all__)


def test_all_of_it_can_be_imported_at_once():
    found = {}
    exec("from cubecrop import *", found)
    assert set(cubecrop.__all__) <= set(found)


def test_modules_that_the_docs_name_need_no_import_of_their_own():
    code = "import cubecrop; print(cubecrop.errors.ReadError.__name__, cubecrop.schema.__name__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["ReadError", "cubecrop.schema"]


@pytest.mark.parametrize("name", cubecrop.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(cubecrop, name).__doc__
    assert name in dir(cubecrop)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="clasify"):
        cubecrop.clasify  # noqa: B018
