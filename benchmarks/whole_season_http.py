"""Reading a whole season from a distant server, as `benchmarks.whole_season` over HTTP."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.nginx import Asked, missing, serving
from benchmarks.season_files import located
from benchmarks.whole_season import WholeSeason, _let_go
from cubecrop.cube import AsyncBackend


class WholeSeasonOverHttp(WholeSeason):
    """The same from nginx with 30 ms before each answer; wall seconds, requests and bytes.

    `cubecrop_async` is cubecrop with `AsyncBackend`, where obstore makes the requests, not GDAL.
    """

    delay = 0.03
    repeat = 2
    runs = ("rasterio_pool", "cubecrop", "cubecrop_async", "cubecrop_parcels")

    def setup(self, root: str) -> None:
        if why := missing():
            raise NotImplementedError(why)
        self.closing = ExitStack()
        folder = self.closing.enter_context(tempfile.TemporaryDirectory(prefix="cubecrop-nginx-"))
        self.server = self.closing.enter_context(serving(root, Path(folder), delay=self.delay))
        super().setup(root)

    def teardown(self, _: str) -> None:
        self.closing.close()

    def begin(self) -> None:
        located(self.items, self.server.address(), self.archive)

    def asked(self) -> Asked:
        return self.server.asked()

    def cubecrop_async(self) -> None:
        _let_go(self.season(backend=AsyncBackend())["sentinel2/reflectance"].data)

    def track_share_of_pool(self, _: str) -> float:
        return self.share("cubecrop")

    def track_parcels_share_of_pool(self, _: str) -> float:
        return self.share("cubecrop_parcels")

    def track_requests(self, _: str) -> float:
        return self.asked_share("cubecrop", "requests")

    def track_async_requests(self, _: str) -> float:
        return self.asked_share("cubecrop_async", "requests")

    def track_parcels_requests(self, _: str) -> float:
        return self.asked_share("cubecrop_parcels", "requests")

    def track_bytes(self, _: str) -> float:
        return self.asked_share("cubecrop", "sent")

    def track_async_bytes(self, _: str) -> float:
        return self.asked_share("cubecrop_async", "sent")

    def track_parcels_bytes(self, _: str) -> float:
        return self.asked_share("cubecrop_parcels", "sent")

    def track_rasterio_pool(self, _: str) -> float:
        return self.measured()["rasterio_pool"].wall

    def track_cubecrop(self, _: str) -> float:
        return self.measured()["cubecrop"].wall

    def track_cubecrop_async(self, _: str) -> float:
        return self.measured()["cubecrop_async"].wall

    def track_cubecrop_parcels(self, _: str) -> float:
        return self.measured()["cubecrop_parcels"].wall

    def track_pool_requests(self, _: str) -> float:
        return self.measured()["rasterio_pool"].asked.requests

    def track_pool_bytes(self, _: str) -> float:
        return self.measured()["rasterio_pool"].asked.sent / 1e6

    track_share_of_pool.unit = track_parcels_share_of_pool.unit = "pools"
    track_requests.unit = track_async_requests.unit = track_parcels_requests.unit = "pools"
    track_bytes.unit = track_async_bytes.unit = track_parcels_bytes.unit = "pools"
    track_rasterio_pool.unit = track_cubecrop.unit = track_cubecrop_parcels.unit = "s"
    track_cubecrop_async.unit = "s"
    track_pool_requests.unit, track_pool_bytes.unit = "requests", "MB"

    def asked_share(self, name: str, what: str) -> float:
        """Requests or bytes of a run divided by those of the pool."""
        ours, pool = (getattr(self.measured()[x].asked, what) for x in (name, "rasterio_pool"))
        return ours / pool


class WholeSeasonOverHttp1024(WholeSeasonOverHttp):
    """The same with files in blocks of 1,024 pixels."""

    block = 1024
