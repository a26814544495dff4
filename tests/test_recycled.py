"""An array's memory is reused for the next one, but never while something refers to it."""

import pickle
import threading

import numpy as np

from cubecrop.cube.recycled import Recycled


def place(array):
    return array.__array_interface__["data"][0]


def test_a_thread_gets_the_memory_of_its_last_array_again():
    memory = Recycled(10)
    first = memory.empty((3, 4), np.float32)
    assert first.shape == (3, 4)
    assert first.dtype == np.float32
    where = place(first)
    del first
    again = memory.empty((2, 5), np.float32)  # smaller
    assert place(again) == where
    del again
    memory.empty((5, 5), np.float32)
    assert memory.held == 100


def test_memory_of_a_view_is_not_reused():
    memory = Recycled(10)
    first = memory.empty((4, 4), np.float32)
    first[:] = 1
    for view in (first[1:, ::2], first.T.ravel("K"), np.asarray(memoryview(first))):
        del first
        first = memory.empty((4, 4), np.float32)
        first[:] = 2
        assert (view == 1).all()
        del view
        first = memory.empty((4, 4), np.float32)
        first[:] = 1


def test_memory_is_released_when_all_parts_were_made():
    memory = Recycled(3)
    held = []
    for _ in range(6):
        memory.empty((4,), np.float32)
        held.append(memory.held)
    assert held == [16, 16, 0, 16, 16, 0]


def test_threads_have_memory_of_their_own():
    memory = Recycled(10)
    where = place(memory.empty((4,), np.float32))
    found = []
    thread = threading.Thread(target=lambda: found.append(memory.empty((4,), np.float32)))
    thread.start()
    thread.join(timeout=10)
    assert place(found[0]) != where
    assert memory.held == 32
    assert pickle.loads(pickle.dumps(memory)).held == 0
