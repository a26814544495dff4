"""The version of the package, which its output files also state."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
