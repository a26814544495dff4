"""Regions of any size: a frozen plan, one task a tile, and one result."""
