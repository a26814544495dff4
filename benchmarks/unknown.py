"""How often a model is sure of a crop that it never saw.

Run ``python -m benchmarks.unknown DATA``, where DATA holds ``points/canada-2017-monthly.parquet``.
For each crop, a network learns from points of the other crops and is shown those of this one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import cubecrop
from benchmarks.transfer import real_points
