"""Vector data of users: files in plain formats, and GeoJSON objects."""

from __future__ import annotations

from cubecrop.vector.columns import check_column_names
from cubecrop.vector.geojson import from_geojson
from cubecrop.vector.read import read_vector

__all__ = ["check_column_names", "from_geojson", "read_vector"]
