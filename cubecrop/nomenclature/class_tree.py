"""Ordered classes with the groups above them, and probabilities at their levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from cubecrop.errors import LabelError
from cubecrop.nomenclature.reserved import MAX_CLASSES, NODATA
from cubecrop.nomenclature.tree import LEAF_LEVEL, above, levels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.nomenclature.crops import Crop, Group

__all__ = ["ClassTree"]

#: Error of rounding in a sum of probabilities.
_ROUNDING: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTree:
    """Classes and the groups above them; see `Nomenclature`, which is read and written.

    Parameters
    ----------
    crops, name, groups
        As for `Nomenclature`, which also lists the errors.
    """

    crops: tuple[Crop, ...]
    name: str = ""
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        if not self.crops:
            raise LabelError(
                "there is no class: every label is null, or there are no labels. Choose a column "
                "that names the crops."
            )
        if len(self.nodes) > MAX_CLASSES:
            above_them = f" and {len(self.groups)} groups" if self.groups else ""
            raise LabelError(
                f"nomenclature has {len(self.crops)} classes{above_them}, expected at most "
                f"{MAX_CLASSES} (a map stores the class in one byte, and reserves some values for "
                "pixels without a class). Merge rare crops first."
            )
        for what in ("code", "name"):
            values = [getattr(node, what) for node in self.nodes]
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise LabelError(f"nomenclature repeats the {what}s {repeated}. Make them unique.")
        if self.groups:
            parents = self._parents()
            for crop in self.crops:
                above(crop.parent, parents)
            levels_of(parents, {group.code: group.level for group in self.groups})

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def names(self) -> list[str]:
        """Class names by index."""
        return [crop.name for crop in self.crops]

    @property
    def codes(self) -> list[str]:
        """Class codes by index."""
        return [crop.code for crop in self.crops]

    @property
    def colours(self) -> list[str]:
        """Class colours ``#rrggbb`` by index."""
        return [crop.colour for crop in self.crops]

    @property
    def nodes(self) -> tuple[Crop, ...]:
        """The crops, then the groups."""
        return (*self.crops, *self.groups)

    @property
    def levels(self) -> list[str]:
        """Names of the levels, finest first; the first one is "crop", the classes themselves."""
        level = {group.code: group.level for group in self.groups}
        return [LEAF_LEVEL, *levels_of(self._parents(), level)]

    def ancestors(self, index: int) -> tuple[Group, ...]:
        """The groups above a class, nearest first."""
        if not self.groups:
            return ()
        by_code = {group.code: group for group in self.groups}
        line = above(self.crops[index].parent, self._parents())
        return tuple(by_code[code] for code in line)

    def positions_at(self, level: str) -> NDArray[np.intp]:
        """For each class, the position in `nodes` of its group of a level.

        Parameters
        ----------
        level : str
            One of `levels`.

        Returns
        -------
        numpy.ndarray
            (crop,) int. A class without a group of that level has that of the next finer level,
            down to itself.

        Raises
        ------
        LabelError
            There is no such level.
        """
        rank = {name: i for i, name in enumerate(self.levels)}
        if level not in rank:
            raise LabelError(
                f"nomenclature {self.name!r} has no level {level!r}, only {list(rank)}. Make one "
                "with groups by `from_hierarchy` or `from_csv`."
            )
        place = {group.code: len(self) + i for i, group in enumerate(self.groups)}
        found = []
        for index in range(len(self)):
            line = [g for g in self.ancestors(index) if rank[g.level] <= rank[level]]
            found.append(place[line[-1].code] if line else index)
        return np.array(found)

    def at_level(self, level: str) -> Self:
        """The classes of a level, with the groups above that level.

        Classes stand in the order of `nodes`; those without a group of that level are as in
        `positions_at`. Raises LabelError if there is no such level.
        """
        kept = np.unique(self.positions_at(level)).tolist()
        crops = tuple(self.nodes[i].as_crop() for i in kept)
        coarser = set(self.levels[self.levels.index(level) + 1 :])
        groups = tuple(group for group in self.groups if group.level in coarser)
        return type(self)(crops=crops, name=self.name, groups=groups)

    def coarsen(self, probability: NDArray[np.floating], level: str) -> NDArray[np.float32]:
        """Probabilities of the classes of a level: sums over their members.

        Parameters
        ----------
        probability : numpy.ndarray
            (…, crop), NaN where there is no prediction.
        level : str
            One of `levels`.

        Returns
        -------
        numpy.ndarray
            (…, crop of `at_level`) float32.
        """
        kept, member = np.unique(self.positions_at(level), return_inverse=True)
        sums = np.zeros((len(self), len(kept)), dtype=np.float32)
        sums[np.arange(len(self)), member] = 1
        return np.asarray(probability, dtype=np.float32) @ sums

    def finest(
        self, probability: NDArray[np.floating], threshold: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The most probable class of the finest level at which it is probable enough.

        Parameters
        ----------
        probability : numpy.ndarray
            (…, crop) calibrated probability, NaN where there is no prediction.
        threshold : float
            Least probability of a class.

        Returns
        -------
        node, level : numpy.ndarray
            (…) uint8: position in `nodes`, and in `levels`. Both are 255 without prediction, and
            where no class of any level is probable enough.
        """
        shape = probability.shape[:-1]
        node = np.full(shape, NODATA, dtype=np.uint8)
        found = np.full(shape, NODATA, dtype=np.uint8)
        for number, level in enumerate(self.levels):
            kept = np.unique(self.positions_at(level)).astype(np.uint8)
            sums = self.coarsen(probability, level)
            # Sums of probabilities have errors of rounding; NaN compares as not enough.
            enough = (sums.max(axis=-1) >= threshold - _ROUNDING) & (found == NODATA)
            best = kept[np.where(np.isnan(sums), 0, sums).argmax(axis=-1)]
            node, found = np.where(enough, best, node), np.where(enough, number, found)
        return node.astype(np.uint8), found.astype(np.uint8)

    def _parents(self) -> dict[str, str | None]:
        return {group.code: group.parent for group in self.groups}
