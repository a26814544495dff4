"""What a cube can be asked for, checked before an archive is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, get_args

from cubecrop.checks import check_number, check_whole, told
from cubecrop.cube.clouds import clouds_name
from cubecrop.cube.composites import Composite
from cubecrop.cube.grid import MEMORY, check_crs, check_resolution
from cubecrop.errors import SchemaError
from cubecrop.losses import check_on_error

if TYPE_CHECKING:
    from cubecrop.cube.backend import Backend
    from cubecrop.cube.clouds import Clouds
    from cubecrop.losses import OnError

__all__ = ["check_cube_options"]

#: With less, chunks are so small that opening files takes most of the time.
_LEAST_MEMORY: Final = 50 * 10**6


def check_cube_options(
    *,
    resolution: float = 10,
    crs: str | int | None = None,
    chunks: int | None = None,
    memory: float = MEMORY,
    composite: Composite | None = None,
    clouds: Clouds = "scl",
    backend: Backend | None = None,
    on_error: OnError = "raise",
) -> None:
    """Raise unless options are such as `cubecrop.open_season` takes.

    Raises
    ------
    SchemaError
        One is of another kind, or out of its range; the message names it.
    """
    check_resolution(resolution)
    if crs is not None:
        check_crs(crs)
    if chunks is not None:
        check_whole("chunks, the side of a chunk in pixels,", chunks, least=1, error=SchemaError)
    check_number(
        "memory, bytes a thread,", memory, least=_LEAST_MEMORY, what="50 MB or more, as in 2e9",
        error=SchemaError,
    )  # fmt: skip
    known = get_args(Composite)
    if composite is not None and not (isinstance(composite, str) and composite in known):
        raise SchemaError(f"composite is {told(composite)}, expected None or one of {list(known)}.")
    clouds_name(clouds)
    check_on_error(on_error)
    if backend is not None and (isinstance(backend, type) or not hasattr(backend, "stack")):
        raise SchemaError(
            f"backend is {told(backend)}, expected an object such as "
            "`cubecrop.cube.RasterioBackend()`, or None."
        )
