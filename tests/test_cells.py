"""Which chunks of a cube a window meets."""

import pytest

from cubecrop.cube.blocks import Cells
from cubecrop.cube.grid import Window

CELLS = Cells(rows=(0, 4, 8, 10), columns=(2, 5, 9))


@pytest.mark.parametrize(
    ("window", "cells"),
    [
        (Window(4, 2, 4, 3), [(1, 0)]),  # edge to edge
        (Window(3, 2, 1, 1), [(0, 0)]),  # the last row before an edge
        (Window(3, 4, 2, 2), [(0, 0), (0, 1), (1, 0), (1, 1)]),  # a pixel on each side
        (Window(5, 3, 4, 1), [(1, 0), (2, 0)]),
        (Window(-5, -5, 100, 100), [(y, x) for y in range(3) for x in range(2)]),
        (Window(-5, 2, 5, 2), []),  # above
        (Window(10, 2, 5, 2), []),  # below
    ],
)
def test_a_window_meets_the_chunks_that_hold_one_of_its_pixels(window, cells):
    assert list(CELLS.meeting(window)) == cells


def test_a_chunk_meets_itself_alone():
    for y in range(3):
        for x in range(2):
            assert list(CELLS.meeting(CELLS.window((y, x)))) == [(y, x)]
