"""An attribute as singular atoms: learned from a pair of codes, saved as a small file, slid on any latent.

What is kept of the pair is its edit y - x as atoms of unit-variance codes, so that the attribute applies to the
pair's own code and to any other one: another seed, an inverted picture, another resolution. Tensors are in
LATENT space throughout (what ComfyUI's wires carry); each sample is divided by its own standard deviation.

The edit is weighted place by place (focus.py), for a pair differs a little everywhere. And a channel's norm is brought back
where the edit lies: exp(t w) y with w at most 1 and the t that gives it the norm of x. Scaling the whole channel would grey
what was not to change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..files import read, write
from .predictor import Predictor
from .svd import ChannelSVD
from .transfer_gain import FOREIGN_GAIN

KIND = "svd_attribute"
ATOMS = {"edit.u": "CHr", "edit.s": "Cr", "edit.v": "CWr", "source_spectrum": "Ck", "target_spectrum": "Ck"}
SOURCE = {"source.u": "Chq", "source.s": "Cq", "source.v": "Cwq"}
PREDICTOR = {"mlp.w1": "mn", "mlp.c1": "n", "mlp.w2": "nm", "mlp.c2": "m", "mlp.scale": "g"}


@dataclass(frozen=True)
class SVDAttribute:
    """``edit``: atoms of y - x (u [C, H, r], s [C, r], v [C, W, r]); spectra: mean singular values [C, k] of the pair.

    sigma, target_sigma: noise levels of source and target code, 0 where unknown. info: free text by key (name,
    latent_format, source_prompt, target_prompt, ...), saved with the file. predictor: the network that chose the singular
    values, where one did; the edit's atoms already hold what it said of the pair. source: leading atoms of the code that
    the edit is of, by which it is known again (kinship.py); None where the edit is for any code.
    """

    edit: ChannelSVD
    source_spectrum: Tensor
    target_spectrum: Tensor
    sigma: float = 0.0
    target_sigma: float = 0.0
    info: dict[str, str] = field(default_factory=dict)
    predictor: Predictor | None = None
    source: ChannelSVD | None = None

    @property
    def name(self) -> str:
        return self.info.get("name", "attribute")

    @property
    def rank(self) -> int:
        return self.edit.s.shape[-1]

    @property
    def channels(self) -> int:
        return self.edit.s.shape[0]

    def report(self) -> str:
        energy = self.edit.s.square().sum(dim=0)
        size = float((energy.sum() / self.source_spectrum.square().sum()).sqrt())
        shares = ", ".join(f"{n}: {energy[:n].sum() / energy.sum():.0%}" for n in (1, 2, 4, 8) if n <= self.rank)
        return (
            f"{self.name}: {self.rank} atoms in each of {self.channels} channels, learned at sigma {self.sigma or 'unknown'}\n"
            f"size of the edit: {size:.1%} of the source code's norm; share held by its leading atoms: {shares}"
            + (
                f"\nof one pair, which it knows again: on any other code it is {FOREIGN_GAIN:g} times as strong"
                if self.source
                else ""
            )
        )

    def save(self, path: str | Path) -> None:
        tensors = dict(zip(ATOMS, (*self.edit, self.source_spectrum, self.target_spectrum)))
        if self.source is not None:
            tensors |= dict(zip(SOURCE, self.source))
        if self.predictor is not None:
            tensors |= dict(zip(PREDICTOR, self.predictor))
        write(path, KIND, tensors, dict(self.info), sigma=self.sigma, target_sigma=self.target_sigma)

    @classmethod
    def load(cls, path: str | Path) -> SVDAttribute:
        """Raises EditError for a file that is not a whole SVD attribute of a known version."""
        tensors, info, numbers = read(path, KIND, ATOMS, ("sigma", "target_sigma"), SOURCE, PREDICTOR)
        edit, source = (
            ChannelSVD(*(tensors[f"{name}.{part}"] for part in "usv")) if f"{name}.u" in tensors else None
            for name in ("edit", "source")
        )
        predictor = Predictor(*(tensors[name] for name in PREDICTOR)) if "mlp.w1" in tensors else None
        return cls(
            edit,
            tensors["source_spectrum"],
            tensors["target_spectrum"],
            info=info,
            predictor=predictor,
            source=source,
            **numbers,
        )
