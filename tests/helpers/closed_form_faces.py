"""A model of drawn faces without a network: each prompt draws one face, closely enough for the judge."""

from __future__ import annotations

from singular_edit.core.layers import AUTO
from singular_edit.demo.faces import Faces
from singular_edit.demo.loader import UNetModel
from torch import Tensor
from torch.nn import functional as F

SEED = 1_000
VARIANCE = 0.05  # of the latents that a prompt draws, around its face
H_GAIN = 0.1
SIDE = 4  # of h, which holds each channel of the latent COPIES times
COPIES = 8


class OneFace:
    """The exact denoiser of latents around one face, and h, x averaged to SIDE x SIDE, with a small share."""

    def __init__(self, face: Tensor):
        self.face = face

    def __call__(self, x: Tensor, sigma: Tensor, h_edit=None) -> Tensor:
        h = F.adaptive_avg_pool2d(x, SIDE).repeat(1, COPIES, 1, 1) / (1 + sigma**2) ** 0.5
        if h_edit is not None:
            h = h_edit(h)
        drawn = self.face + VARIANCE * (x - self.face) / (VARIANCE + sigma**2)
        seen = h.unflatten(1, (COPIES, -1)).mean(1)
        return drawn + H_GAIN * F.interpolate(seen, size=x.shape[-2:])


class ClosedFormFaces(UNetModel):
    """The embedded U-Net's VAE, judge, faces and schedule."""

    @classmethod
    def like(cls, demo: UNetModel) -> ClosedFormFaces:
        model = cls(demo.architecture, demo.network, demo.text, demo.vae, demo.latent_scale, demo.device)
        model.denoisers = {}
        return model

    @property
    def bottleneck(self) -> tuple[int, int, int]:
        return COPIES * self.latent_shape[0], SIDE, SIDE

    def denoiser(
        self, prompt: str, negative: str = "", cfg: float = 1.0, edit_uncond: bool = False, layer: str = AUTO
    ) -> OneFace:
        if prompt not in self.denoisers:
            named = {name: name in prompt for name in self.attributes}
            self.denoisers[prompt] = self.captioned(self.sample([SEED]).with_attributes(**named))
        return self.denoisers[prompt]

    def captioned(self, drawn: Faces, cfg: float = 1.0) -> OneFace:
        return OneFace(self.encode(self.render(drawn)))
