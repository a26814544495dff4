"""The demo in one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.nomenclature import NODATA, Nomenclature
from cubecrop.write import draw_map, legend

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["draw_demo"]


def draw_demo(
    path: Path,
    truth: NDArray[np.uint8],
    mapped: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    unseen: NDArray[np.uint8],
    nomenclature: Nomenclature,
) -> None:
    """Draw declared crops, the map, its confidence, and its mistakes where nobody trained.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    truth, mapped, unseen : numpy.ndarray
        (y, x) uint8 class index, 255 = none: declared crops, the map, and declared crops of
        held-out parcels.
    confidence : numpy.ndarray
        (y, x) float32.
    nomenclature : Nomenclature
        Classes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 10.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    for one, values, title in (
        (axes[0, 0], truth, "Declared crops"),
        (axes[0, 1], mapped, "Map, every pixel by itself"),
    ):
        draw_map(one, values, nomenclature)
        one.set_title(title, loc="left")
    image = axes[1, 0].imshow(confidence, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes[1, 0].set_title("Confidence", loc="left")
    figure.colorbar(image, ax=axes[1, 0], shrink=0.7)
    _draw_mistakes(axes[1, 1], unseen, mapped)
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
    legend(figure, np.stack([truth, mapped]), nomenclature, loc="outside lower center", ncols=5)
    figure.savefig(path)


def _draw_mistakes(axes: Axes, unseen: NDArray[np.uint8], mapped: NDArray[np.uint8]) -> None:
    from matplotlib.patches import Patch

    colours = {"not held out": "#E0E0E0", "right": "#4477AA", "wrong": "#EE6677"}
    kind = np.where(unseen == NODATA, 0, np.where(unseen == mapped, 1, 2))
    table = np.array([tuple(bytes.fromhex(c[1:])) for c in colours.values()], np.uint8)
    axes.imshow(table[kind], interpolation="nearest")
    inside = unseen != NODATA
    share = (unseen == mapped)[inside].mean() if inside.any() else float("nan")
    axes.set_title(f"Held-out parcels: {share:.0%} of pixels right", loc="left")
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    axes.legend(handles=handles, loc="lower right", fontsize=8)
