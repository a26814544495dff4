"""Dates of all sensors in one attention, with members that have none."""

import dataclasses

import pytest
import torch
from test_fusion import make_batch, make_network


def emptied(batch, member):
    """The batch with shared days, and a member without any valid pixel but weather's."""
    series = {}
    for name in ("sentinel2", "sentinel1"):
        one = batch.series[name]
        valid = one.valid.clone()
        valid[member] = False
        days = one.days[:1].expand(len(valid), -1)
        assert days.stride(0) == 0
        series[name] = dataclasses.replace(one, valid=valid, days=days, thermal=None)
    return dataclasses.replace(batch, series=series)


@pytest.mark.parametrize("fusion", ["early", "mid"])
def test_a_member_without_dates_changes_no_other(fusion):
    network = make_network(fusion=fusion)
    batch = emptied(make_batch(n=4), 1)
    with torch.inference_mode():
        together = network(batch)
        assert torch.isfinite(together).all()
        for member in (0, 2, 3):
            alone = network(batch.take(torch.tensor([member])))
            torch.testing.assert_close(together[[member]], alone, rtol=1e-4, atol=1e-4)
