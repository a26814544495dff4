"""Join stores of several tiles to pixel sets with common dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from cubecrop.errors import SchemaError
from cubecrop.sample.stored_sets import StoredSets
from cubecrop.schema import SERIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.sample.store import SetStore

__all__ = ["join_stores"]

#: Sets join if together they have at most so many times the dates of either.
_MORE_DATES: Final = 1.5

#: What identifies a date in several tiles: day, orbit state and number, and a count for dates
#: that agree in these.
Date = tuple[int, str, int, int]


def join_stores(
    stores: Sequence[SetStore], parcels: Sequence[NDArray[np.int64]], owner: NDArray[np.int64]
) -> list[tuple[StoredSets, NDArray[np.int64]]]:
    """Join stores of one season and archive to pixel sets with common dates.

    Parcels with nearly the same dates come together, so that batches can be drawn from all of
    them. A parcel lacks the other dates of its group: its pixels are masked there, as in a cube.

    Parameters
    ----------
    stores : sequence of SetStore
        The stores, such as one a tile.
    parcels : sequence of numpy.ndarray
        For each store, the number (row,) of the parcel of each row.
    owner : numpy.ndarray
        (parcel,) the store whose values come first where several have a parcel, such as weather.

    Returns
    -------
    list of tuple
        Pixel sets, and the numbers (parcel,) of their parcels, ascending. Parcels in no store
        are in none.
    """
    number = np.concatenate(parcels)
    store = np.repeat(np.arange(len(stores)), [len(rows) for rows in parcels])
    row = np.concatenate([np.arange(len(rows)) for rows in parcels])
    order = np.lexsort((store, store != owner[number], number))
    number, pieces = number[order], np.stack([store[order], row[order]], axis=1).astype(np.int32)
    known, starts = np.unique(number, return_index=True)
    starts = np.append(starts, len(number))
    kinds: dict[tuple[int, ...], list[int]] = {}
    for place in range(len(known)):
        touched = tuple(pieces[starts[place] : starts[place + 1], 0].tolist())
        kinds.setdefault(touched, []).append(place)
    dated = [_dates_of(one) for one in stores]
    groups = []
    for touching in _alike(kinds, dated):
        places = np.sort(np.concatenate([kinds[kind] for kind in touching]))
        counts = np.diff(starts)[places]
        begins = np.concatenate(([0], np.cumsum(counts)))
        chosen = np.concatenate([np.arange(starts[p], starts[p + 1]) for p in places])
        groups.append((_group(stores, dated, pieces[chosen], begins), known[places]))
    return groups


_Dates = dict[str, list[Date]]


def _dates_of(store: SetStore) -> _Dates:
    """What identifies each date of each child of a store."""
    out: _Dates = {}
    for name, node in store.about.children.items():
        if "time" not in node.coords:
            out[name] = [(0, "", 0, 0)]
            continue
        days = node["time"].to_numpy().astype("datetime64[D]").astype(np.int64).tolist()
        states = (
            node["orbit_state"].to_numpy() if "orbit_state" in node.coords else [""] * len(days)
        )
        orbits = (
            node["relative_orbit"].to_numpy()
            if "relative_orbit" in node.coords
            else [0] * len(days)
        )
        seen: dict[tuple[int, str, int], int] = {}
        out[name] = []
        for day, state, orbit in zip(days, states, orbits, strict=True):
            key = (day, str(state), int(orbit))
            out[name].append((*key, seen.setdefault(key, 0)))
            seen[key] += 1
    return out


def _alike(
    kinds: dict[tuple[int, ...], list[int]], dated: Sequence[_Dates]
) -> list[list[tuple[int, ...]]]:
    """Sort kinds of parcels, by the stores that they lie in, into groups with similar dates."""
    dates: dict[tuple[int, ...], dict[str, frozenset[Date]]] = {}
    for kind in kinds:
        names = {name for store in kind for name in dated[store]}
        dates[kind] = {
            name: frozenset(date for store in kind for date in dated[store].get(name, ()))
            for name in names
        }
    groups: list[tuple[dict[str, frozenset[Date]], list[tuple[int, ...]]]] = []
    # First those with all sensors, and the most frequent dates.
    order = sorted(kinds, key=lambda kind: (-len(dates[kind]), -len(kinds[kind]), kind))
    for kind in order:
        for place, (common, members) in enumerate(groups):
            if _join(common, dates[kind]):
                both = {n: common.get(n, frozenset()) | dates[kind].get(n, frozenset())
                        for n in {*common, *dates[kind]}}  # fmt: skip
                groups[place] = (both, [*members, kind])
                break
        else:
            groups.append((dates[kind], [kind]))
    return [members for _, members in groups]


def _join(one: dict[str, frozenset[Date]], other: dict[str, frozenset[Date]]) -> bool:
    """Whether two sets of dates are similar; a sensor that one of them lacks does not count."""
    return all(
        len(one[name] | other[name]) <= _MORE_DATES * min(len(one[name]), len(other[name]))
        for name in one.keys() & other.keys() & SERIES.keys()
    )


def _group(
    stores: Sequence[SetStore],
    dated: Sequence[_Dates],
    pieces: NDArray[np.int32],
    starts: NDArray[np.int64],
) -> StoredSets:
    used, number = np.unique(pieces[:, 0], return_inverse=True)
    own, dates = [stores[i] for i in used], [dated[i] for i in used]
    pieces = np.stack([number, pieces[:, 1]], axis=1).astype(np.int32)
    first = pieces[starts[:-1]]
    root = _roots(own, first)
    nodes: dict[str, xr.Dataset] = {}
    places: list[dict[str, NDArray[np.int64]]] = [{} for _ in own]
    for name in dict.fromkeys(name for store in own for name in store.about.children):
        having = [(i, store) for i, store in enumerate(own) if name in store.about.children]
        node, index = _common(
            [store.about[name].to_dataset(inherit=False) for _, store in having],
            [dates[i][name] for i, _ in having],
        )
        nodes[name] = node
        for (i, _), position in zip(having, index, strict=True):
            places[i][name] = position
    return StoredSets(
        root=root,
        nodes=nodes,
        stores=tuple(own),
        pieces=pieces,
        starts=starts,
        dates=tuple(places),
    )


def _roots(stores: Sequence[SetStore], rows: NDArray[np.int32]) -> xr.Dataset:
    """Coordinates and shapes of parcels (parcel,) from their stores and rows (parcel, 2)."""
    parts, places = [], []
    for number, store in enumerate(stores):
        here = np.flatnonzero(rows[:, 0] == number)
        parts.append(
            store.about.to_dataset()
            .isel(parcel=rows[here, 1])
            .drop_vars("weather_cell", errors="ignore")
        )
        places.append(here)
    attrs = dict(parts[0].attrs)
    if len(parts) > 1:
        for name in ("items", "item_hrefs", "harmonisation"):
            attrs.pop(name, None)
    whole = xr.concat(parts, "parcel", combine_attrs="drop") if len(parts) > 1 else parts[0]
    return whole.isel(parcel=np.argsort(np.concatenate(places))).assign_attrs(attrs)


def _common(
    nodes: Sequence[xr.Dataset], dates: Sequence[list[Date]]
) -> tuple[xr.Dataset, list[NDArray[np.int64]]]:
    """Coordinates on all dates of some nodes, and the places of each node's dates there.

    Raises
    ------
    SchemaError
        The nodes differ in bands, variables or radar calibration.
    """
    first = nodes[0]
    for name in ("band", "variable"):
        if name in first.coords:
            lists = {tuple(map(str, node[name].to_numpy())) for node in nodes}
            if len(lists) > 1:
                raise SchemaError(f"tiles have the {name}s {sorted(lists)}, expected one list.")
    calibrations = {str(node.attrs.get("variable", {}).get("calibration", "")) for node in nodes}
    if len(calibrations) > 1:
        raise SchemaError(
            f"tiles have radar calibrated as {sorted(calibrations)}, which differ by decibels; "
            "expected one. Train on the parcels of one of them, or on another archive."
        )
    if "time" not in first.coords:
        return first, [np.zeros(1, np.int64)] * len(nodes)
    found: dict[Date, tuple[int, int]] = {}
    for number, keys in enumerate(dates):
        for place, key in enumerate(keys):
            found.setdefault(key, (number, place))
    times = {key: nodes[i]["time"].to_numpy()[at] for key, (i, at) in found.items()}
    order = sorted(found, key=lambda key: (times[key], key))
    position = {key: at for at, key in enumerate(order)}
    coords: dict[Any, Any] = {}
    for label, coord in first.coords.items():
        if coord.dims == ("time",):
            values = [nodes[i][label].to_numpy()[at] for i, at in map(found.__getitem__, order)]
            coords[label] = ("time", np.array(values), coord.attrs)
        elif "time" not in coord.dims and "cell" not in coord.dims:
            coords[label] = coord
    places = [np.array([position[key] for key in keys], np.int64) for keys in dates]
    if "acquisitions" in coords:
        most = np.zeros(len(order), first["acquisitions"].dtype)
        for node, own in zip(nodes, places, strict=True):
            most[own] = np.maximum(most[own], node["acquisitions"].to_numpy())
        coords["acquisitions"] = ("time", most)
    return xr.Dataset(coords=coords, attrs=first.attrs), places
