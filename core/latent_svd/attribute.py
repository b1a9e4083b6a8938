"""An attribute as singular atoms: what is kept of a pair of codes, and its file.

Of the pair the edit y - x is kept, as atoms for codes of unit variance, so that the attribute applies to the pair's own
code and to any other one: another seed, an inverted picture, another resolution. The paper (arXiv 2502.02225) edits the
pair's own code only; applying the edit to another one is ours.

Codes are in LATENT space throughout, which is what ComfyUI's wires carry. learn.py learns an attribute, apply.py
applies it, and transfer_gain.py says how strong it is on another code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from ..errors import plain_text
from ..files import read, write
from ..limits import LARGEST, Limits
from ..response import GROUPS, Response
from ..response import LIMITS as RESPONSE_LIMITS
from .alignment import alignment_note
from .cover import Cover
from .pair_notes import notes
from .predictor import Predictor
from .svd import ChannelSVD
from .transfer_gain import FOREIGN_EFFECT, FOREIGN_GAIN

KIND = "svd_attribute"
# What is divided by is at least this.
TINY = 1e-12
# Tensors of the file and their axes: one letter an axis, the same letter the same length. GROWTH, COVER, SOURCE,
# ALIGNMENT and PREDICTOR may be absent, each as a whole.
ATOMS = {"edit.u": "CHr", "edit.s": "Cr", "edit.v": "CWr", "source_spectrum": "Ck", "target_spectrum": "Ck"}
GROWTH = {"growth": "C"}
COVER = {
    "cover.share": "HW",
    "cover.u": "CHp",
    "cover.s": "Cp",
    "cover.v": "CWp",
    "cover.source_energy": "C",
    "cover.target_energy": "C",
}
SOURCE = {"source.u": "Chq", "source.s": "Cq", "source.v": "Cwq"}
ALIGNMENT = {"alignment.filter": "CHW"}
PREDICTOR = {"mlp.w1": "mn", "mlp.c1": "n", "mlp.w2": "nm", "mlp.c2": "m", "mlp.scale": "1"}
# Singular vectors have norm 1, up to the rounding of half precision; singular values are those of codes of unit
# variance, whose largest is the root of a code's size.
VECTORS = Limits(low=-1.01, high=1.01, columns=1.01)
# What the norm of a channel is multiplied by at least and at most.
GROWTH_RANGE = (1e-3, 1e3)
VALUES = Limits(low=0.0, high=LARGEST, descending="weakly")
LIMITS = {
    **dict.fromkeys(("edit.u", "edit.v", "source.u", "source.v", "cover.u", "cover.v"), VECTORS),
    **dict.fromkeys(("edit.s", "source.s", "cover.s", "source_spectrum", "target_spectrum"), VALUES),
    "growth": Limits(*GROWTH_RANGE),
    "cover.share": Limits(low=0.0, high=1.0),
    "alignment.filter": Limits(low=-LARGEST, high=LARGEST),
    "cover.source_energy": Limits(low=0.0),
    "cover.target_energy": Limits(low=0.0),
    "mlp.scale": Limits(low=1e-12),
    **RESPONSE_LIMITS,
}


@dataclass(frozen=True, eq=False)
class SVDAttribute:
    """An attribute: an edit that can be added to any code of the same channels.

    Attributes:
        edit: Atoms of y - x at unit variance of the codes, u [C, H, r], s [C, r], v [C, W, r].
        source_spectrum: Mean singular values of the source's codes, [C, k].
        target_spectrum: Mean singular values of the target's codes, [C, k].
        sigma: Noise level of the source's codes; 0 where it is unknown.
        target_sigma: Noise level of the target's codes; 0 where it is unknown.
        info: Free text by key (name, latent_format, source_prompt, target_prompt, ...), saved with the file.
        predictor: The network that chose the singular values, where one did. The edit already holds its result.
        source: Leading atoms of the code that the attribute was learned from, by which its own code is recognised
            (transfer_gain.py); None for an attribute of several pairs, which has no own code.
        growth: How many times as large the norm of each channel is with the attribute, [C]; None of an older file,
            which leaves norms as they are.
        cover: What it covers; None of one pair, of few pairs and of an older file, which is added only.
        correlation_filter: Finds where another picture wants it (alignment.py), [C, H, W]; None where it lies in one
            place in every picture.
        response: How finished pictures answer its scale; None of an older file, whose strength is its scale.
    """

    edit: ChannelSVD
    source_spectrum: Tensor
    target_spectrum: Tensor
    sigma: float = 0.0
    target_sigma: float = 0.0
    info: dict[str, str] = field(default_factory=dict)
    predictor: Predictor | None = None
    source: ChannelSVD | None = None
    growth: Tensor | None = None
    cover: Cover | None = None
    correlation_filter: Tensor | None = None
    response: Response | None = None

    @property
    def name(self) -> str:
        """The attribute's name, "attribute" where it has none."""
        return plain_text(self.info.get("name", "attribute"))

    @property
    def rank(self) -> int:
        """How many atoms the edit has in each channel."""
        return self.edit.s.shape[-1]

    @property
    def channels(self) -> int:
        """How many channels a code must have."""
        return self.edit.s.shape[0]

    def report(self) -> str:
        """Return in a few lines what was learned: rank, noise level, size, atoms, pairs, alignment, cover."""
        energy = self.edit.s.double().square().sum(dim=0)
        size = float((energy.sum() / self.source_spectrum.double().square().sum().clamp(min=TINY)).sqrt())
        shares = [f"{n}: {energy[:n].sum() / energy.sum().clamp(min=TINY):.0%}" for n in (1, 2, 4, 8) if n <= self.rank]
        lines = [
            f"{self.name}: {self.rank} atoms in each of {self.channels} channels, "
            f"learned at sigma {self.sigma or 'unknown'}",
            f"size of the edit: {size:.1%} of the source code's norm; "
            f"share held by its leading atoms: {', '.join(shares)}",
        ]
        if self.source is not None:
            lines.append(
                f"learned from one pair; on any other picture it is {FOREIGN_GAIN:g} times as strong, a guess, and "
                f"{FOREIGN_EFFECT}"
            )
        lines += notes(self.info)
        if self.correlation_filter is not None:
            lines.append(alignment_note(self.info))
        if self.cover is not None:
            lines.append(f"replaces what it covers: up to {float(self.cover.share.max()):.0%} of what lies at a place")
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write the attribute to a safetensors file.

        Args:
            path: The file; missing folders are made, an old file is replaced.
        """
        tensors = dict(zip(ATOMS, (*self.edit, self.source_spectrum, self.target_spectrum), strict=True))
        if self.source is not None:
            tensors |= dict(zip(SOURCE, self.source, strict=True))
        if self.growth is not None:
            tensors |= dict.fromkeys(GROWTH, self.growth)
        if self.cover is not None:
            share, source, *energies = self.cover
            tensors |= dict(zip(COVER, (share, *source, *energies), strict=True))
        if self.correlation_filter is not None:
            tensors |= dict.fromkeys(ALIGNMENT, self.correlation_filter)
        if self.predictor is not None:
            tensors |= dict(zip(PREDICTOR, self.predictor, strict=True))
        if self.response is not None:
            tensors |= self.response.tensors()
        write(path, KIND, tensors, dict(self.info), LIMITS, sigma=self.sigma, target_sigma=self.target_sigma)

    @classmethod
    def load(cls, path: str | Path) -> SVDAttribute:
        """Read an attribute from a file.

        Args:
            path: A file that save wrote.

        Returns:
            The attribute, in float32 on the CPU.

        Raises:
            EditError: The file is not a whole SVD attribute of a known version.
        """
        groups = (GROWTH, COVER, SOURCE, ALIGNMENT, PREDICTOR, *GROUPS)
        tensors, info, numbers = read(path, KIND, ATOMS, ("sigma", "target_sigma"), *groups, limits=LIMITS)
        source = None
        if "source.u" in tensors:
            source = ChannelSVD._make(tensors[name] for name in SOURCE)
        cover = None
        if "cover.share" in tensors:
            share, u, s, v, *energies = (tensors[name] for name in COVER)
            cover = Cover(share, ChannelSVD(u, s, v), *energies)
        predictor = None
        if "mlp.w1" in tensors:
            predictor = Predictor._make(tensors[name] for name in PREDICTOR)
        return cls(
            edit=ChannelSVD(tensors["edit.u"], tensors["edit.s"], tensors["edit.v"]),
            source_spectrum=tensors["source_spectrum"],
            target_spectrum=tensors["target_spectrum"],
            sigma=numbers["sigma"],
            target_sigma=numbers["target_sigma"],
            info=info,
            predictor=predictor,
            source=source,
            growth=tensors.get("growth"),
            cover=cover,
            correlation_filter=tensors.get("alignment.filter"),
            response=Response.of(tensors),
        )
