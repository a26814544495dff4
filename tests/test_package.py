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


@pytest.mark.parametrize("name", cubecrop.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(cubecrop, name).__doc__
    assert name in dir(cubecrop)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="clasify"):
        cubecrop.clasify  # noqa: B018
