"""The version of the package, which files that it writes name as well."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
