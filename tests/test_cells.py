"""Which chunks of a cube a window meets, and which blocks are read in one go."""

import pytest

from cubecrop.cube.blocks import Cells, Nest, _rectangles
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


NEST = Nest(factor=1, row=0, column=0, height=11, width=14, unit=(4, 4))


@pytest.mark.parametrize(
    ("units", "places"),
    [
        ([(0, 0)], [Window(0, 0, 4, 4)]),
        ([(0, 0), (0, 1), (1, 0), (1, 1)], [Window(0, 0, 8, 8)]),
        ([(0, 0), (0, 1), (1, 0)], [Window(0, 0, 4, 8), Window(4, 0, 4, 4)]),
        ([(0, 1), (1, 0), (1, 1)], [Window(0, 4, 4, 4), Window(4, 0, 4, 8)]),
        ([(0, 0), (2, 0)], [Window(0, 0, 4, 4), Window(8, 0, 3, 4)]),
        ([(1, 0), (1, 2)], [Window(4, 0, 4, 4), Window(4, 8, 4, 4)]),
        ([(1, 3), (2, 3)], [Window(4, 12, 7, 2)]),  # blocks at the edges are smaller
        ([(y, x) for y in range(3) for x in range(4)], [Window(0, 0, 11, 14)]),
    ],
)
def test_blocks_are_read_as_few_rectangles(units, places):
    assert _rectangles(units, NEST) == places
