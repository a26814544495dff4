"""Vector data of users: files in plain formats, and GeoJSON objects."""

from __future__ import annotations

from cubecrop.vector.columns import check_active_geometry, check_column_names
from cubecrop.vector.geojson import from_geojson
from cubecrop.vector.read import read_vector
from cubecrop.vector.remote import is_address, read_part

__all__ = [
    "check_active_geometry", "check_column_names", "from_geojson", "is_address", "read_part",
    "read_vector",
]  # fmt: skip
