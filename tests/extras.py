"""Marks of tests that need what the tests' requirements leave out."""

from importlib.util import find_spec

import pytest

needs_stackstac = pytest.mark.skipif(
    find_spec("stackstac") is None,
    reason="stackstac is not installed: pip install -e '.[test,stackstac]' keeps pandas below 3",
)
