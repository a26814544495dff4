"""``python -m cubecrop``."""

from __future__ import annotations

from cubecrop.cli import main

if __name__ == "__main__":
    main()
