"""What the evaluation asks of a model: pictures, their true edits, a judge, prompts, and the model as a denoiser.

The embedded models bring it (demo/loader.py), and so does a folder of yours: ``singular-edit evaluate --model FOLDER``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from ...core import Denoiser, EditError
from ...core.denoiser import layer_of
from ...core.layers import AUTO
from ..architectures import ARCHITECTURES
from ..loader import load

# The file of a folder, and the function in it: load() -> EvaluatedModel.
FILE = "model.py"
FUNCTION = "load"


class Subjects(Protocol):
    """What pictures are painted from, such as the numbers of a face; a batch of B.

    Attributes:
        attributes: Which attributes each has: booleans in the model's order, [B, A].
    """

    attributes: Tensor

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...

    def with_attributes(self, **values: bool | None) -> Any:
        """Return the same subjects with attributes switched on or off; None leaves one as it is."""


class EvaluatedModel(Protocol):
    """A model with what measuring its edits takes. Latents are in model space.

    Attributes:
        attributes: Names of the attributes, in the order of the judge's answers.
        source: The prompt that names no attribute.
        latent_shape: Shape of one picture's latent, (C, H, W).
        bottleneck: Shape of one picture's h, (Ch, h, w).
        latent_format: What SVD attributes say that their latents are.
        device: Where the model is.
    """

    attributes: tuple[str, ...]
    source: str
    latent_shape: tuple[int, int, int]
    bottleneck: tuple[int, int, int]
    latent_format: str
    device: torch.device

    def target(self, attribute: str) -> str:
        """Return the prompt that names one attribute."""

    def sample(self, seeds: Iterable[int]) -> Any:
        """Draw one of Subjects per seed.

        What is reported uses seeds from 50000 up, what is chosen those from 60000 up; training must use neither.
        """

    def render(self, drawn: Any) -> Tensor:
        """Paint subjects, [B, 3, side, side] in [0, 1]."""

    def counterfactuals(self, drawn: Any, attribute: str, value: bool = True) -> Tensor:
        """Paint the true edited pictures, [K, B, 3, side, side].

        K is above 1 where several edits are right, such as hats of several colours.
        """

    def logits(self, pictures: Tensor) -> Tensor:
        """Return how clearly a judge sees each attribute, [B, A], positive where it does; it is part of no loss."""

    def judged(self, pictures: Tensor) -> Tensor:
        """Return which attributes the judge sees: booleans, [B, A]."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures as latents, [B, *latent_shape]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents as pictures."""

    def denoiser(self, prompt: str, negative: str = "", cfg: float = 1.0, edit_uncond: bool = False) -> Denoiser:
        """Return the model under two prompts.

        A transformer may also take ``layer``, the name of where h is.
        """

    def captioned(self, drawn: Any, cfg: float = 1.0) -> Denoiser:
        """Return the model for a batch of these subjects, each under a prompt that names all its attributes."""

    def sigmas(self, steps: int) -> Tensor:
        """Return its usual schedule, descending to 0, [steps + 1]."""

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a share of the way through sampling."""

    def scaled(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """Scale unit noise to the state of a noise level."""


def denoiser_at(model: EvaluatedModel, layer: str, prompt: str, cfg: float) -> Denoiser:
    """Return a model under a prompt with h at a layer; the model is asked for no layer where it has h there anyway."""
    denoise = model.denoiser(prompt, cfg=cfg)
    if layer in (AUTO, layer_of(denoise)):
        return denoise
    return cast(Any, model).denoiser(prompt, cfg=cfg, layer=layer)


def open_model(name: str) -> EvaluatedModel:
    """Load what is to be evaluated.

    Args:
        name: The name of an embedded model, or a folder with a file FILE, whose Python code is run: its function
            FUNCTION takes nothing and returns an EvaluatedModel.

    Raises:
        EditError: It is neither, or the file has no such function.
    """
    if name in ARCHITECTURES:
        return load(name=name)
    path = Path(name) / FILE
    if not path.is_file():
        raise EditError(
            f"model is '{name}', where there is no {FILE}; {', '.join(ARCHITECTURES)} and folders with one "
            "are accepted."
        )
    spec = importlib.util.spec_from_file_location("evaluated_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, FUNCTION):
        raise EditError(
            f"'{path}' has no function {FUNCTION}(), which returns the model; docs/results.md says what it is."
        )
    return cast(EvaluatedModel, getattr(module, FUNCTION)())
