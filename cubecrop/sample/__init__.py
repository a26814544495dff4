"""Pixel sets and statistics of parcels, splits, and readers of existing tables."""

from __future__ import annotations

from cubecrop.sample.cache import cache_key, cached
from cubecrop.sample.draw import draw_positions, hash_ids
from cubecrop.sample.parcels import check_parcels, labels_of, plain_parcels, read_parcels
from cubecrop.sample.pixel_sets import fewer_pixels, reading_order, sample_pixel_sets
from cubecrop.sample.published_sets import read_pixel_set_folder
from cubecrop.sample.splits import split_groups, split_parcels
from cubecrop.sample.statistics import parcel_statistics
from cubecrop.sample.worldcereal import read_worldcereal

__all__ = [
    "cache_key",
    "cached",
    "check_parcels",
    "draw_positions",
    "fewer_pixels",
    "hash_ids",
    "labels_of",
    "parcel_statistics",
    "plain_parcels",
    "read_parcels",
    "read_pixel_set_folder",
    "read_worldcereal",
    "reading_order",
    "sample_pixel_sets",
    "split_groups",
    "split_parcels",
]
