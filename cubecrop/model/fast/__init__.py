"""Faster ways to compute the same results as the networks' own code.

- `folding`: a copy of a network whose normalisations are merged into its layers; logits equal
  those of the network in evaluation mode within 1e-5.
- `gathering`: blocks of members with only their valid dates; logits equal those of the whole
  batch within 2e-5.
- `pooling`: statistics of pixels and sums over dates, equal to those of torch within 1e-5.
- `linear`: linear layers as convolutions, equal to linear layers within 1e-5.

Folding is optional. Training also uses the last two.
"""

from __future__ import annotations
