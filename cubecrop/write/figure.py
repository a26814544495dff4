"""A figure of its own, not pyplot's, that a notebook shows all the same.

Apart from its users, since importing matplotlib takes a while.
"""

from __future__ import annotations

import io

import matplotlib.figure

__all__ = ["Figure"]


class Figure(matplotlib.figure.Figure):
    """A figure that shows itself where it is the last value of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
