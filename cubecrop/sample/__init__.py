"""Pixel sets and statistics of parcels, splits, and readers of existing tables."""

from __future__ import annotations

from cubecrop.sample.draw import draw_positions, hash_ids
from cubecrop.sample.fingerprints import CELL, fingerprints_at
from cubecrop.sample.joined_stores import join_stores
from cubecrop.sample.parcels import check_parcels, labels_of, plain_parcels, read_parcels
from cubecrop.sample.pixel_sets import fewer_pixels, reading_order, sample_pixel_sets
from cubecrop.sample.published_sets import read_pixel_set_folder
from cubecrop.sample.splits import split_groups, split_parcels
from cubecrop.sample.statistics import parcel_statistics
from cubecrop.sample.store import SetStore, cache_key, stored, stored_bytes
from cubecrop.sample.stored_sets import StoredSets
from cubecrop.sample.worldcereal import read_worldcereal

__all__ = [
    "CELL",
    "SetStore",
    "StoredSets",
    "cache_key",
    "check_parcels",
    "draw_positions",
    "fewer_pixels",
    "fingerprints_at",
    "hash_ids",
    "join_stores",
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
    "stored",
    "stored_bytes",
]
