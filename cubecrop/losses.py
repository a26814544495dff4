"""Scenes that could not be read: raise at once, or go on and tell which and why.

What to do about a file that fails is an input of the graph, a constant that every reading
task depends on. Cubes are built to raise. `tolerate` gives the same arrays with the other
answer, and beside them a report of what was lost, to be computed together: reasons travel
from worker to writer as results of tasks, whatever the scheduler.
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

#: Names of graph layers whose results were read from files, and tell their ``losses``, begin so.
READING: Final = "cubecrop-reading-"
#: And those of arrays whose blocks are each values of one such result, or of a part of it.
VALUES: Final = "cubecrop-values-"
_SWITCH: Final = "cubecrop-on-error-"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Loss:
    """A scene that could not be read, in part or whole: item, asset and the error's words.

    ``file`` tells items of one id apart, and is not written anywhere.
    """

    item: str
    asset: str
    error: str
    file: str = field(default="", compare=False, repr=False)

    def told(self) -> dict[str, str]:
        """What is written of it."""
        return {"item": self.item, "asset": self.asset, "error": self.error}


def count_items(lost: Iterable[Loss]) -> int:
    """How many items some losses are of; of one id, as many as one asset has files."""
    files: dict[str, dict[str, set[str]]] = {}
    for loss in lost:
        files.setdefault(loss.item, {}).setdefault(loss.asset, set()).add(loss.file)
    return sum(max(map(len, assets.values())) for assets in files.values())


def check_on_error(on_error: str) -> OnError:
    """Raise `SchemaError` unless a word says what to do about a file that fails."""
    if on_error not in get_args(OnError):
        raise SchemaError(f"on_error is {on_error!r}, expected one of {list(get_args(OnError))}.")
    return on_error  # type: ignore[return-value]


def constant(name: str, value: object) -> Delayed:
    """Give a value that stands once in a graph and that tasks depend on by name."""
    layer = MaterializedLayer({name: value})
    return Delayed(name, HighLevelGraph({name: layer}, {name: set()}))


def switch(on_error: OnError) -> Delayed:
    """What reading tasks do about a file that fails, as an input of their graph."""
    return constant(_SWITCH + on_error, on_error)


def tolerate(arrays: Sequence[Any], *, lose: bool) -> tuple[list[Any], Delayed | None]:
    """Arrays that go on where a scene cannot be read, and the report of what was lost.

    Parameters
    ----------
    arrays : sequence
        Dask arrays on a season cube; anything else comes back as it is.
    lose : bool
        Whether to go on. If not, arrays that were built to go on still do.

    Returns
    -------
    tuple
        The arrays, and a Delayed list of `Loss`, sorted and unique, to be computed with them;
        None where nothing can be lost: the graph reads no scene, or raises.
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
    # Culled: a map that was cropped must not read the rest of its cube for the report.
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
    """Tasks that make blocks of values; ``chunks`` are those of what they are made from."""

    def __init__(self, tasks: Mapping[Any, Any], chunks: tuple[tuple[int, ...], ...]) -> None:
        super().__init__(tasks)
        self.chunks = chunks


def readings_of(array: da.Array) -> da.Array | None:
    """What the values of an array are made from, (y, x) of objects, one a chunk.

    An object has ``gather(rows, columns, out)``, which writes values of some pixels; so nobody
    who wants a few has to make all. Its chunks may hold several of the array's. None where an
    array is anything but the values as read.
    """
    graph = array.__dask_graph__()
    if not (array.name.startswith(VALUES) and isinstance(graph, HighLevelGraph)):
        return None
    names = [name for name in graph.dependencies[array.name] if name.startswith(READING)]
    layer = graph.layers[array.name]
    if len(names) != 1 or not isinstance(layer, ValuesLayer):
        return None
    # The layer of values would be joined with this one, and leave nothing to compute.
    own = graph.cull_layers(names)
    return da.Array(own, names[0], layer.chunks, dtype=object, meta=np.empty((0, 0), object))


def _layered(array: da.Array) -> HighLevelGraph:
    graph = array.__dask_graph__()
    if isinstance(graph, HighLevelGraph):
        return graph
    return HighLevelGraph.from_collections(array.name, graph)


def _report(graph: HighLevelGraph, readings: Sequence[Any]) -> Delayed:
    # Losses are taken out block by block, or the report would hold all pixels in memory.
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
    """One loss an item and asset: blocks of one file fail with words of their own."""
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
