"""Perceptual distances between pictures, and the thresholds of Asyrp's schedule that belong to each.

The packages that compute them are imported when a distance is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import EditError
from ..core.hspace.edit_schedule import Distance

# Pixels of the longer side at which ms-ssim was calibrated. Larger pictures are averaged to it, so that the thresholds
# mean the same at every size, and the distance takes as long.
CALIBRATED_SIDE = 64
ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's file, which the lpips package would download on its own


class Thresholds(NamedTuple):
    """The distances at which editing ends and boosting begins (arXiv 2210.10960, sections 4.1 and 4.2).

    Attributes:
        strength: dist(x, P_t) where editing ends.
        quality: dist(x, x_t) where boosting begins.
    """

    strength: float
    quality: float


# ms-ssim: calibrated on the demo model, python benchmarks/hspace.py schedule. lpips: the paper's.
DISTANCES = {"ms-ssim": Thresholds(0.024, 0.55), "lpips": Thresholds(0.33, 1.2)}


def distance_named(name: str) -> Distance:
    """Return a distance between pictures.

    Args:
        name: A name in DISTANCES.

    Returns:
        ``distance(a, b)`` of pictures in [0, 1], [B, 3, H, W] each: [B].

    Raises:
        EditError: A package or a file that the distance needs is not installed.
    """
    return {"ms-ssim": _ms_ssim, "lpips": _lpips}[name]()


def _ms_ssim() -> Distance:
    """Return 1 - MS-SSIM at all scales at full resolution (Zhao et al., arXiv 1511.08861), of pictures of any size."""
    try:
        from kornia.losses import MS_SSIMLoss
    except ImportError:
        raise EditError(
            "distance ms-ssim needs kornia, which ComfyUI's requirements.txt lists; pip install kornia."
        ) from None
    loss = MS_SSIMLoss(alpha=1.0, compensation=1.0, reduction="none")

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return loss.to(a.device)(_at_calibrated_size(a), _at_calibrated_size(b)).flatten(1).mean(dim=1)

    return distance


def _at_calibrated_size(pictures: Tensor) -> Tensor:
    """Average pictures [B, 3, H, W] to CALIBRATED_SIDE, if they are larger."""
    scale = CALIBRATED_SIDE / max(pictures.shape[-2:])
    if scale >= 1:
        return pictures
    size = [max(1, round(scale * side)) for side in pictures.shape[-2:]]
    return F.interpolate(pictures, size=size, mode="area")


def _lpips() -> Distance:
    """Return LPIPS on AlexNet (Zhang et al., arXiv 1801.03924), the paper's distance."""
    try:
        import lpips
    except ImportError:
        raise EditError("distance lpips needs the lpips package; pip install lpips, or use ms-ssim.") from None
    weights = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not weights.is_file():
        raise EditError(
            f"distance lpips needs AlexNet's weights at {weights}; "
            f"put {ALEXNET} from download.pytorch.org/models there, or use ms-ssim."
        )
    network = lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return network.to(a.device)(a, b, normalize=True).flatten()

    return distance
