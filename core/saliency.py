"""Where a change is: what differs little at a place is weighted out.

What two prompts make of one face differs much in few places and a little everywhere. The little (a shade of the
background, of the skin) is that face's own affair, or an error of what was learned: on another picture it shows as a
drift of colours. So a change is weighted place by place with

    w = (1 + focus) e2 / (e2 + focus * mean(e2))        e2: mean square of the change over channels and 3x3 places

which is 1 where as much differs as on average, 1 + focus at most, and near 0 where little does (a Wiener filter that
takes the share ``focus`` of the mean for noise).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

FOCUS = 1.0


def saliency_weight(change: Tensor, focus: float = FOCUS) -> Tensor:
    """The weight w of each place of a change [..., C, H, W]: [..., 1, H, W]; 1 everywhere at focus 0. It knows nothing of the change's size."""
    local = change.square().mean(dim=-3, keepdim=True)
    energy = F.avg_pool2d(
        F.pad(local.reshape(-1, 1, *change.shape[-2:]), (1, 1, 1, 1), mode="replicate"), 3, 1
    ).view_as(local)
    return (1 + focus) * energy / (energy + focus * energy.mean(dim=(-2, -1), keepdim=True)).clamp(min=1e-12)
