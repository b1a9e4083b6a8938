"""What a report says of a round trip."""

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import InversionReport, round_trip_psnr


def test_the_psnr_is_relative_to_the_pictures_own_range():
    x = noise((2, 4, 8, 8))
    off = x.clone()
    off[1] += 0.04
    trip = round_trip_psnr(x, off)
    assert float(trip[0]) == 200
    # 4 standard deviations over an error of 0.04 are 100 times, 40 dB.
    assert float(trip[1]) == pytest.approx(40, abs=1)
    assert torch.allclose(round_trip_psnr(100 * x, 100 * off), trip, atol=0.01)


def test_an_empty_picture_has_a_finite_psnr():
    empty = torch.zeros(1, 4, 8, 8)
    assert torch.isfinite(round_trip_psnr(empty, empty)).all()
    assert float(round_trip_psnr(empty, empty + 1)) < 0


def test_the_report_says_what_was_measured_and_of_how_many():
    report = InversionReport("traced", [1.0, 0.0], calls=1, samples=2)
    assert "comes back" not in report.text()
    report.round_trip = torch.tensor([100.0, 60.0])
    assert "comes back at 80.0 dB (lowest of 2: 60.0 dB)" in report.text()
    report.round_trip = torch.tensor([200.0, 200.0])
    assert "comes back bit for bit" in report.text()


def test_what_cannot_be_measured_does_not_come_back():
    report = InversionReport("traced", [1.0, 0.0], round_trip=torch.tensor([float("nan")]))
    assert report.verdict().startswith("Does not come back")
