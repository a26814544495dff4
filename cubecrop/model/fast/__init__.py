"""What prediction does in other ways than the networks are written, to be quick.

- `folding`: a copy of a network whose normalisations are multiplied out, equal to the network in
  evaluation mode, logits within 1e-5;
- `gathering`: blocks of members with their valid dates alone, equal to the whole batch, logits
  within 2e-5;
- `pooling`: statistics of pixels and sums over dates, equal to those of torch, within 1e-5;
- `linear`: linear layers as convolutions, equal to linear layers, within 1e-5.

The rest of the package runs without folding; training shares the last two.
"""

from __future__ import annotations
