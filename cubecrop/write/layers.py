"""Layers that a map has only on request: the crop set's size, and what is known of a pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from cubecrop.checks import check_names
from cubecrop.errors import ArgumentError, SchemaError
from cubecrop.nomenclature import NODATA, Crop, Nomenclature
from cubecrop.write.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import xarray as xr

__all__ = [
    "LAYERS", "LAYER_FILES", "LAYER_STYLES", "check_available", "check_layers", "layer_facts",
    "layers_in",
]  # fmt: skip

F = TypeVar("F", bound=Provenance)

#: Colours of the finest and of the coarsest level: the surer, the darker.
_FINEST, _COARSEST = (0x0B, 0x4F, 0x6C), (0xC6, 0xE0, 0xEA)
_CALIBRATED: Final = (
    "a model with calibrated probabilities, which `cubecrop.train` makes if it has enough parcels"
)
_LIMITED: Final = "a model with limits of its knowledge, such as `CropModel.default()`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of whole numbers: its title, the value without data, and what it takes.

    ``classes`` makes the classes that its values count, of those of the map; None for a number.
    """

    title: str
    nodata: int
    takes: str
    classes: Callable[[Nomenclature], Nomenclature] | None = None


def _nodes(nomenclature: Nomenclature) -> Nomenclature:
    """All classes and groups as classes."""
    crops = tuple(replace(node.as_crop(), parent=None) for node in nomenclature.nodes)
    return Nomenclature(crops=crops, name=nomenclature.name)


def _levels(nomenclature: Nomenclature) -> Nomenclature:
    """The levels as classes, finest first."""
    names = nomenclature.levels
    colours = np.linspace(_FINEST, _COARSEST, len(names)).round().astype(np.uint8)
    crops = tuple(
        Crop(code=name, name=name, colour=f"#{bytes(colour).hex().upper()}")
        for name, colour in zip(names, colours, strict=True)
    )
    return Nomenclature(crops=crops, name=nomenclature.name)


#: Layers by the names that they have in a dataset of `cubecrop.classify`.
LAYERS: Final[Mapping[str, Layer]] = {
    "set_size": Layer(title="Number of crops in the crop set", nodata=0, takes=_CALIBRATED),
    "level": Layer(
        title="Finest level at which a class is probable enough",
        nodata=NODATA, takes=_LIMITED, classes=_levels,
    ),
    "crop_at_level": Layer(
        title="Class of the finest level at which a class is probable enough",
        nodata=NODATA, takes=_LIMITED, classes=_nodes,
    ),
}  # fmt: skip
#: Styles for QGIS of layers with classes.
LAYER_STYLES: Final = tuple(f"{name}.qml" for name, one in LAYERS.items() if one.classes)
#: Files that layers may add to the folder of a map.
LAYER_FILES: Final = (
    *(f"{name}.tif" for name in LAYERS),
    *(f"{name}.tif.aux.xml" for name, one in LAYERS.items() if one.classes),
    *LAYER_STYLES,
)


def check_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """Names of layers in their order, each once; raises `ArgumentError` for another name."""
    names = check_names("layers", layers, LAYERS, empty=True)
    return tuple(name for name in LAYERS if name in names)


def check_available(layers: Sequence[str], available: Collection[object]) -> None:
    """Raise `ArgumentError` if a layer is not among those that a model gives."""
    if missing := [name for name in layers if name not in available]:
        raise ArgumentError(
            f"layers are {list(layers)}, but the map has no {missing[0]!r}: that takes "
            f"{LAYERS[missing[0]].takes}. Leave it out, or classify with such a model."
        )


def layers_in(dataset: xr.Dataset, layers: Sequence[str]) -> list[xr.DataArray]:
    """Layers of a map, in the order of their names; no pixel is read.

    Raises
    ------
    ArgumentError
        The map lacks a layer.
    SchemaError
        A layer has other dims or another type.
    """
    check_available(layers, dataset.data_vars)
    for name in layers:
        dims, dtype = dataset[name].dims, dataset[name].dtype
        if dims != ("y", "x") or dtype != np.uint8:
            raise SchemaError(
                f"{name} has dims {dims} and dtype {dtype}, expected ('y', 'x') and uint8, as "
                "from `cubecrop.classify(...)`. Classify again, or leave the layer out."
            )
    return [dataset[name] for name in layers]


def layer_facts(name: str, facts: F) -> F | None:
    """The facts of a map with the classes of a layer; None if its values are numbers."""
    classes = LAYERS[name].classes
    if classes is None:
        return None
    return replace(facts, nomenclature=classes(facts.nomenclature), marks=())
