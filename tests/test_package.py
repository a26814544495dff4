"""What importing costs, and the public names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cubecrop

ROOT = Path(__file__).parents[1]
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


NAME = re.compile(r"(?<![\w./-])(?<!-m )cubecrop\.[a-z_]\w*(?:\.[A-Za-z_]\w*)*")


#: Prints the names that are not there. Those of each module meet a package that was just
#: imported, since one module imports what another needs.
RESOLVE = """
import itertools, operator, sys
for _, names in itertools.groupby(sys.argv[1:], lambda name: name.split(".")[1]):
    for module in [one for one in sys.modules if one.partition(".")[0] == "cubecrop"]:
        del sys.modules[module]
    import cubecrop
    for name in names:
        try:
            operator.attrgetter(name.partition(".")[2])(cubecrop)
        except AttributeError as error:
            print(name, error)
"""


def literals(path):
    """Texts of a module: docstrings and messages."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_name_that_docs_and_messages_use_is_there_after_one_import():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    texts = [page.read_text("utf-8") for page in pages]
    texts += [text for path in (ROOT / "cubecrop").rglob("*.py") for text in literals(path)]
    found = {name for text in texts for name in NAME.findall(text)}
    assert {"cubecrop.classify", "cubecrop.aoi.parse_aoi"} <= found
    found.discard("cubecrop.toml")  # a file
    names = sorted(found - {f"cubecrop.{name}" for name in cubecrop.__all__})
    out = subprocess.run(
        [sys.executable, "-c", RESOLVE, *names], capture_output=True, text=True, check=True
    )
    assert out.stdout == ""


@pytest.mark.parametrize("name", cubecrop.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(cubecrop, name).__doc__
    assert name in dir(cubecrop)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="clasify"):
        cubecrop.clasify  # noqa: B018
