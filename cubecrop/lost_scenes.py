"""Handle unreadable scenes: raise at once, or continue and report them.

The graph has a constant that every reading task depends on: it decides whether an unreadable file
raises. Cubes are built to raise. `tolerate` returns the same arrays with the other choice, and a
report of lost scenes to compute together with them. The reasons are results of tasks, so they
reach the writer with any scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from cubecrop.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "READING",
    "VALUES",
    "Loss",
    "OnError",
    "ValuesLayer",
    "check_on_error",
    "constant",
    "count_items",
    "readings_of",
    "switch",
    "tolerate",
]

OnError = Literal["raise", "lost"]

#: Prefix of graph layers whose results come from files and have ``losses``.
READING: Final = "cubecrop-reading-"
#: Prefix of arrays whose blocks are the values of one such result, or of a part of it.
VALUES: Final = "cubecrop-values-"
_SWITCH: Final = "cubecrop-on-error-"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Loss:
    """A scene that could not be read completely: item, asset and error message.

    ``file`` distinguishes items with the same id, and is not written to any output.
    """

    item: str
    asset: str
    error: str
    file: str = field(default="", compare=False, repr=False)

    def told(self) -> dict[str, str]:
        """The loss as written to metadata."""
        return {"item": self.item, "asset": self.asset, "error": self.error}


def count_items(lost: Iterable[Loss]) -> int:
    """Number of items with losses; items with the same id are counted by their files."""
    files: dict[str, dict[str, set[str]]] = {}
    for loss in lost:
        files.setdefault(loss.item, {}).setdefault(loss.asset, set()).add(loss.file)
    return sum(max(map(len, assets.values())) for assets in files.values())


def check_on_error(on_error: str) -> OnError:
    """Raise `SchemaError` unless the argument is a known way to handle unreadable files."""
    if on_error not in get_args(OnError):
        raise SchemaError(f"on_error is {on_error!r}, expected one of {list(get_args(OnError))}.")
    return on_error  # type: ignore[return-value]


def constant(name: str, value: object) -> Delayed:
    """Put a value into a graph once, for tasks that depend on it by name."""
    layer = MaterializedLayer({name: value})
    return Delayed(name, HighLevelGraph({name: layer}, {name: set()}))


def switch(on_error: OnError) -> Delayed:
    """How reading tasks handle an unreadable file, as an input of their graph."""
    return constant(_SWITCH + on_error, on_error)


def tolerate(arrays: Sequence[Any], *, lose: bool) -> tuple[list[Any], Delayed | None]:
    """Return arrays that continue without unreadable scenes, and a report of lost scenes.

    Parameters
    ----------
    arrays : sequence
        Dask arrays on a season cube; anything else is returned unchanged.
    lose : bool
        Whether to continue. If not, arrays that were built to continue still do.

    Returns
    -------
    tuple
        The arrays, and a Delayed list of `Loss`, sorted and unique, to be computed with them;
        None if nothing can be lost, since the graph reads no scene or raises.
    """
    lazy = [one for one in arrays if isinstance(one, da.Array)]
    graph = HighLevelGraph.merge(*(_layered(one) for one in lazy))
    if lose:
        name = _SWITCH + "raise"
        if name in graph.layers:
            layers = {**graph.layers, name: MaterializedLayer({name: "lost"})}
            graph = HighLevelGraph(layers, graph.dependencies)
    elif _SWITCH + "lost" not in graph.layers:
        return list(arrays), None
    keys = [key for one in lazy for key in _flat(one.__dask_keys__())]
    # Cull the graph: for the report, a cropped map must not read the rest of its cube.
    readings = [
        key
        for layer in graph.cull(keys).layers.items()
        if layer[0].startswith(READING)
        for key in layer[1].get_output_keys()
    ]
    if not readings:
        return list(arrays), None
    tolerant = [
        da.Array(graph, one.name, one.chunks, dtype=one.dtype, meta=one._meta)
        if isinstance(one, da.Array)
        else one
        for one in arrays
    ]
    return tolerant, _report(graph, readings)


class ValuesLayer(MaterializedLayer):
    """Tasks that make blocks of values; ``chunks`` are the chunks of their source."""

    def __init__(self, tasks: Mapping[Any, Any], chunks: tuple[tuple[int, ...], ...]) -> None:
        super().__init__(tasks)
        self.chunks = chunks


def readings_of(array: da.Array) -> da.Array | None:
    """The source objects of an array's values, (y, x), one object per chunk.

    An object has ``gather(rows, columns, out)``, which writes the values of single pixels without
    making all others. One source chunk may hold several chunks of the array. None if the array
    is not the values as read.
    """
    graph = array.__dask_graph__()
    if not (array.name.startswith(VALUES) and isinstance(graph, HighLevelGraph)):
        return None
    names = [name for name in graph.dependencies[array.name] if name.startswith(READING)]
    layer = graph.layers[array.name]
    if len(names) != 1 or not isinstance(layer, ValuesLayer):
        return None
    # Without the cull, Dask would fuse the layer of values with this one and drop its results.
    own = graph.cull_layers(names)
    return da.Array(own, names[0], layer.chunks, dtype=object, meta=np.empty((0, 0), object))


def _layered(array: da.Array) -> HighLevelGraph:
    graph = array.__dask_graph__()
    if isinstance(graph, HighLevelGraph):
        return graph
    return HighLevelGraph.from_collections(array.name, graph)


def _report(graph: HighLevelGraph, readings: Sequence[Any]) -> Delayed:
    # Extract losses block by block, since the report would otherwise keep all pixels in memory.
    name = f"cubecrop-lost-{tokenize(sorted(map(str, readings)))}"
    tasks: dict[Any, Any] = {
        (name, number): (_losses_of, key) for number, key in enumerate(readings)
    }
    tasks[name] = (_joined, list(tasks))
    sources = {key[0] for key in readings}
    whole = HighLevelGraph(
        {**graph.layers, name: MaterializedLayer(tasks)}, {**graph.dependencies, name: sources}
    )
    return Delayed(name, whole)


class _HasLosses(Protocol):
    losses: tuple[Loss, ...]


def _losses_of(reading: _HasLosses) -> tuple[Loss, ...]:
    return reading.losses


def _joined(found: Iterable[Iterable[Loss]]) -> list[Loss]:
    """Keep one loss per item and asset, since blocks of one file have different messages."""
    unique: Mapping[tuple[str, str, str], Loss] = {
        (loss.item, loss.asset, loss.file): loss for losses in found for loss in losses
    }
    return sorted(unique.values())


def _flat(keys: object) -> Iterable[Any]:
    if isinstance(keys, list):
        for key in keys:
            yield from _flat(key)
    else:
        yield keys
