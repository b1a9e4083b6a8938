"""An edit's change, added to the picture itself, at its own size.

    result = picture + (edited - unedited)

Both drawn pictures passed through the VAE, at the size that the model was made for, and lost the same there. Their
difference is the edit alone, so that the picture stays as it is where nothing changed, bit for bit. What is fine in it
below the edit, such as single hairs below a hat, shines through. Ours, not the papers'.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def on_original(picture: Tensor, unedited: Tensor, edited: Tensor) -> Tensor:
    """Add an edit's change to the picture that was edited.

    Args:
        picture: The picture, [B, C, H, W] in [0, 1].
        unedited: What the model draws of it without the edit, [B, C, h, w] in [0, 1], of the same view.
        edited: The same with the edit.

    Returns:
        The edited picture, like ``picture``.
    """
    change = edited - unedited
    if change.shape[-2:] != picture.shape[-2:]:
        change = F.interpolate(change, size=picture.shape[-2:], mode="bicubic", antialias=True)
    return (picture + change).clamp(0, 1)
