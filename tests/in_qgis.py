"""What QGIS makes of files: it opens them with its own Python, without a display."""

import json
import os
import shutil
import subprocess
from functools import cache

import pytest

#: QGIS is installed for the system's Python and not for that of the tests.
_SYSTEM = "/usr/bin:/usr/local/bin:/bin"
#: Variables that would lead QGIS to other Pythons, plugins or data.
_FOREIGN = ("PYTHON", "VIRTUAL_ENV", "GDAL_", "PROJ_", "QT_")

_START = """
import json, sys
from qgis.core import (
    Qgis, QgsApplication, QgsColorRampShader, QgsPalettedRasterRenderer, QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

application = QgsApplication([], False)
application.initQgis()
"""

_RASTER = """
layer = QgsRasterLayer(sys.argv[1], "map")
found = {"valid": layer.isValid(), "crs": layer.crs().authid()}
renderer = layer.renderer()
found["renderer"] = renderer.type()
if isinstance(renderer, QgsPalettedRasterRenderer):
    found["classes"] = [
        [one.value, one.label, one.color.name(), one.color.alpha()] for one in renderer.classes()
    ]
    found["legend"] = [label for label, _ in renderer.legendSymbologyItems()]
image = layer.previewAsImage(QSize(layer.width(), layer.height()), QColor(0, 0, 0, 0))
colours = {}
for y in range(image.height()):
    for x in range(image.width()):
        colour = image.pixelColor(x, y)
        name = colour.name() if colour.alpha() == 255 else f"alpha {colour.alpha()}"
        colours[name] = colours.get(name, 0) + 1
found["colours"] = colours
print(json.dumps(found))
"""

_VECTOR = """
layer = QgsVectorLayer(sys.argv[1], "parcels", "ogr")
found = {"valid": layer.isValid(), "crs": layer.crs().authid()}
fields = [field.name() for field in layer.fields()]
found["rows"] = [
    {name: value if isinstance(value, (str, int, float)) else None
     for name, value in zip(fields, feature.attributes())}
    | {"area": round(feature.geometry().area(), 1)}
    for feature in layer.getFeatures()
]
print(json.dumps(found))
"""

_DRIVERS = """
from osgeo import ogr
print(json.dumps([ogr.GetDriver(i).GetName() for i in range(ogr.GetDriverCount())]))
"""


def opened_raster(path):
    """Renderer, classes and drawn colours of a raster; its style is the one beside it."""
    return _asked(_RASTER, path)


def opened_table(path):
    """Rows of a vector file by the names of their fields, with the area of each shape."""
    return _asked(_VECTOR, path)


def drivers():
    """Names of the formats that QGIS's GDAL reads."""
    return _asked(_DRIVERS)


def _asked(script, *arguments):
    python = _python()
    if python is None:
        pytest.skip("no QGIS: apt-get install python3-qgis qgis-providers")
    return json.loads(_run(python, _START + script, *arguments).stdout.splitlines()[-1])


@cache
def _python():
    """The Python that imports QGIS; None if there is none."""
    python = shutil.which("python3", path=_SYSTEM)
    if python is None:
        return None
    return python if _run(python, "import qgis.core", check=False).returncode == 0 else None


def _run(python, script, *arguments, check=True):
    kept = {name: one for name, one in os.environ.items() if not name.startswith(_FOREIGN)}
    done = subprocess.run(
        [python, "-I", "-c", script, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
        env=kept | {"QT_QPA_PLATFORM": "offscreen", "PATH": _SYSTEM},
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"QGIS failed: {done.stderr[-2000:]}")
    return done
