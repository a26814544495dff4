"""Files next to the rasters of a map: styles for QGIS, and class metadata for GDAL.

QGIS automatically loads a ``.qml`` file with the raster's name. GDAL reads names, colours and a
table of the classes from ``.aux.xml``, since a TIFF has no names and only opaque colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import numpy as np

from cubecrop.nomenclature import NODATA
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cubecrop.write.provenance import Provenance

__all__ = [
    "add_classes", "write_categories", "write_class_style", "write_confidence_style",
    "write_statistics",
]  # fmt: skip

#: QGIS version whose format the styles have; later versions read it too.
_VERSION: Final = "3.22.0"
#: From dark to white: multiplied with a map it darkens uncertain pixels and keeps their hue.
_RAMP: Final = (
    (0.0, "#202020"), (0.25, "#585858"), (0.5, "#909090"), (0.75, "#C8C8C8"), (1.0, "#FFFFFF"),
)  # fmt: skip
#: Longest class name in a legend, characters.
_LENGTH: Final = 80
_ROWS: Final = 512
#: Columns of a raster attribute table: name, type (0 whole number, 2 text) and usage of GDAL.
_FIELDS: Final = (
    ("Value", 0, 5), ("Class", 2, 2), ("Code", 2, 0), ("Red", 0, 6), ("Green", 0, 7),
    ("Blue", 0, 8), ("Alpha", 0, 9),
)  # fmt: skip


def write_class_style(path: Path, facts: Provenance) -> None:
    """Write a style with one entry for each class of the map; other values are transparent."""
    root, renderer = _style("paletted")
    palette = ET.SubElement(renderer, "colorPalette")
    for value, name, colour in facts.entries:
        _put(
            palette,
            "paletteEntry",
            value=str(value),
            color=colour.lower(),
            label=one_line(name, length=_LENGTH),
            alpha="255",
        )
    _close(root)
    _save(root, path, kind="<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")


def write_confidence_style(path: Path) -> None:
    """Write a style with a ramp from 0 to 1."""
    root, renderer = _style("singlebandpseudocolor", classificationMin="0", classificationMax="1")
    shader = _put(ET.SubElement(renderer, "rastershader"), "colorrampshader",
                  colorRampType="INTERPOLATED", classificationMode="1", clip="0",
                  minimumValue="0", maximumValue="1", labelPrecision="2")  # fmt: skip
    ramp = _put(shader, "colorramp", type="gradient", name="[source]")
    options = _put(ramp, "Option", type="Map")
    stops = ":".join(f"{stop:g};{_rgba(colour)}" for stop, colour in _RAMP[1:-1])
    for name, value in (
        ("color1", _rgba(_RAMP[0][1])),
        ("color2", _rgba(_RAMP[-1][1])),
        ("discrete", "0"),
        ("rampType", "gradient"),
        ("stops", stops),
    ):
        _put(options, "Option", type="QString", name=name, value=value)
    for stop, colour in _RAMP:
        _put(shader, "item", value=f"{stop:g}", label=f"{stop:g}", color=colour.lower(),
             alpha="255")  # fmt: skip
    _close(root)
    _save(root, path, kind="<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n")


def write_categories(path: Path, facts: Provenance) -> None:
    """Write names, colours and a table of a raster's classes for GDAL."""
    root = ET.Element("PAMDataset")
    band = _put(root, "PAMRasterBand", band="1")
    add_classes(band, facts)
    _save(root, path)


def add_classes(band: ET.Element, facts: Provenance) -> None:
    """Add names, colours and a table of the classes to a raster band in an XML file of GDAL."""
    ET.SubElement(band, "ColorInterp").text = "Palette"
    names = ET.SubElement(band, "CategoryNames")
    for name in facts.nomenclature.names:
        ET.SubElement(names, "Category").text = one_line(name)
    colours = {value: _parts(colour) for value, _, colour in facts.entries}
    table = ET.SubElement(band, "ColorTable")
    for value in range(NODATA + 1):
        red, green, blue = colours.get(value, (0, 0, 0))
        alpha = 255 if value in colours else 0
        _put(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
    codes = facts.nomenclature.codes
    rows = [
        (value, one_line(name), one_line(codes[value]) if value < len(codes) else "",
         *colours[value], 255)
        for value, name, _ in facts.entries
    ]  # fmt: skip
    _attribute_table(band, rows)


def write_statistics(path: Path, values: NDArray[np.float32]) -> None:
    """Write the statistics of a raster, so that programs need not compute them."""
    root = ET.Element("PAMDataset")
    band = _put(root, "PAMRasterBand", band="1")
    metadata = ET.SubElement(band, "Metadata")
    for name, value in _statistics(values).items():
        _put(metadata, "MDI", key=f"STATISTICS_{name}").text = f"{value:.10g}"
    _save(root, path)


def _statistics(values: NDArray[np.float32]) -> dict[str, float]:
    """Statistics under GDAL's names; empty if the raster has no value."""
    n, total, squares, minimum, maximum = 0, 0.0, 0.0, np.inf, -np.inf
    for row in range(
        0, len(values), _ROWS
    ):  # a few rows at a time, since the map may fill the memory
        part = values[row : row + _ROWS]
        known = part[~np.isnan(part)].astype(np.float64)
        if known.size:
            n += known.size
            total, squares = total + float(known.sum()), squares + float(np.square(known).sum())
            minimum, maximum = min(minimum, float(known.min())), max(maximum, float(known.max()))
    if n == 0:
        return {}
    return {
        "MINIMUM": minimum,
        "MAXIMUM": maximum,
        "MEAN": total / n,
        "STDDEV": max(squares / n - (total / n) ** 2, 0.0) ** 0.5,
        "VALID_PERCENT": round(100 * n / values.size, 2),
    }


def _attribute_table(band: ET.Element, rows: Sequence[tuple[object, ...]]) -> None:
    table = _put(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_FIELDS):
        field = _put(table, "FieldDefn", index=str(index))
        for tag, value in (("Name", name), ("Type", kind), ("Usage", usage)):
            ET.SubElement(field, tag).text = str(value)
    for index, row in enumerate(rows):
        line = _put(table, "Row", index=str(index))
        for cell in row:
            ET.SubElement(line, "F").text = str(cell)


def _style(kind: str, **attributes: str) -> tuple[ET.Element, ET.Element]:
    """A raster style and its renderer, which the caller fills."""
    root = ET.Element("qgis", {"version": _VERSION, "styleCategories": "Symbology"})
    pipe = ET.SubElement(root, "pipe")
    renderer = _put(pipe, "rasterrenderer", type=kind, band="1", opacity="1", alphaBand="-1",
                    nodataColor="", **attributes)  # fmt: skip
    ET.SubElement(renderer, "rasterTransparency")
    origin = ET.SubElement(renderer, "minMaxOrigin")
    for tag, text in (("limits", "None"), ("extent", "WholeRaster"), ("statAccuracy", "Estimated")):
        ET.SubElement(origin, tag).text = text
    return root, renderer


def _close(root: ET.Element) -> None:
    """Add the elements that QGIS writes after the renderer; none of them changes a colour."""
    pipe = root[0]
    _put(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    _put(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    _put(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"


def _put(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _save(root: ET.Element, path: Path, *, kind: str = "") -> None:
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    path.write_text(f"{kind}{text}\n", encoding="utf-8")


def _parts(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _rgba(colour: str) -> str:
    return ",".join(map(str, (*_parts(colour), 255)))
