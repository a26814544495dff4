"""Writing crop maps and parcel tables: COG, STAC item, picture, GeoParquet."""

from __future__ import annotations

from cubecrop.write.crop_map import write_map
from cubecrop.write.parcels import write_parcels
from cubecrop.write.picture import draw_map, legend
from cubecrop.write.plot import plot_map
from cubecrop.write.timeline import plot_timeline, write_timeline

__all__ = [
    "draw_map",
    "legend",
    "plot_map",
    "plot_timeline",
    "write_map",
    "write_parcels",
    "write_timeline",
]
