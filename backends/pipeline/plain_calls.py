"""What an attached pipeline does in the pipeline's own plain calls, and its end: load, callback, slider, detach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ...core.errors import EditError
from ...core.latent_svd.attribute import SVDAttribute
from ...core.model_family import ModelFamily
from ...core.recipes.attributes import Attribute, advised_strength, check_model, load_attribute
from ...core.recipes.defaults import END_PERCENT
from ...core.recipes.together import together
from .arguments import Weighted, check_number, found, readouts_of, whole_pair
from .learning import LOGGER
from .model import PipelineModel
from .network_use import use_of
from .recognise import model_of
from .slider import Slider
from .step_callback import SVDCallback
from .unet_model import UNetModel


class PlainCalls:
    """A pipeline whose own calls apply attributes.

    Args:
        pipe: A loaded diffusers pipeline.
        family: What kind of model it is; None recognises it.

    Raises:
        EditError: pipe is something else.
    """

    def __init__(self, pipe: Any, family: ModelFamily | None = None) -> None:
        self._model = model_of(pipe, family)
        self._sliders: list[Slider] = []
        self._attached = True

    @property
    def pipe(self) -> Any:
        """The pipeline."""
        return self._model.pipe

    @property
    def family(self) -> ModelFamily:
        """What kind of model it is, as files of attributes say it."""
        return self._model.family

    def load(self, path: str | Path) -> Attribute:
        """Read an attribute's file, of this library or of ComfyUI's nodes.

        Args:
            path: The file.

        Returns:
            The attribute.

        Raises:
            EditError: It is no attribute, or was learned on another kind of model.
        """
        attribute = load_attribute(path)
        self._check_fits(attribute)
        return attribute

    def callback(
        self, attribute: Attribute, strength: float | None = None, *, size: tuple[int, int] | None = None
    ) -> SVDCallback:
        """Return a ``callback_on_step_end`` that applies an SVD attribute in a plain call of the pipeline.

        Args:
            attribute: An attribute of method svd.
            strength: 1 is the whole attribute; None takes what its file advises.
            size: (height, width) of the call in pixels, in the order of the call's own arguments, which is not that of
                invert's size; asked for by Flux where the picture is no square.

        Returns:
            The callback: ``pipe("a face", callback_on_step_end=edit.callback(hat))``.

        Raises:
            EditError: The attribute is of another method or does not fit the model, or an argument is not accepted.
        """
        model = self._working_model()
        if not isinstance(attribute, SVDAttribute):
            raise EditError(
                f"attribute is a {type(attribute).__name__}; a callback applies attributes of method svd, "
                "and slider applies readouts."
            )
        self._check_fits(attribute)
        strength = advised_strength(attribute) if strength is None else check_number(strength, "strength")
        pair = whole_pair(size)
        if size is not None and pair is None:
            raise EditError(f"size is {found(size)}; (height, width) in pixels is accepted.")
        return SVDCallback(model, attribute, strength, pair)

    @contextmanager
    def slider(self, readouts: Weighted, *, until: float = END_PERCENT) -> Iterator[None]:
        """Apply readouts to every plain call of the pipeline inside a ``with`` block, with any scheduler.

        Args:
            readouts: Readouts and their strengths; one alone has the strength that its file advises.
            until: Sampling progress until which they edit.

        Yields:
            Nothing; the pipeline itself is edited.

        Raises:
            EditError: An attribute is no readout, until is no number, or the pipeline has no U-Net, or a compiled one.
        """
        model = self._working_model()
        if not isinstance(model, UNetModel):
            raise EditError(
                f"the pipeline is of {self.family.text()}; a slider needs a U-Net (SD 1.x, SD 2.x, SDXL). "
                "Invert and edit, or a callback of method svd, work with it."
            )
        weighted = readouts_of(readouts)
        until = check_number(until, "until")
        self._check_fits(*(one for one, _ in weighted))
        # One with a response has a guidance of its own; the others are read as one.
        plain = [pair for pair in weighted if pair[0].response is None]
        separate = [pair for pair in weighted if pair[0].response is not None]
        if plain:
            separate.append(together(plain))
        sliders: list[Slider] = []
        try:
            # What another thread computes is finished without them.
            with use_of(model.network).lock:
                for readout, strength in separate:
                    sliders.append(Slider(model, readout, strength, until))
            self._sliders += sliders
            yield
        finally:
            for slider in sliders:
                slider.remove()
            self._sliders = [one for one in self._sliders if one not in sliders]

    def detach(self) -> None:
        """Remove every hook that is left; the pipeline is as it was, and this object works no longer.

        A callback that was made before is no hook: it still acts in the calls that it is given to.
        """
        for slider in self._sliders:
            slider.remove()
        self._sliders = []
        self._attached = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.detach()

    def _working_model(self) -> PipelineModel:
        """Return the model.

        Raises:
            EditError: The pipeline was detached.
        """
        if not self._attached:
            raise EditError("the pipeline was detached from this object; attach it again to go on.")
        return self._model

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Compute alone with the network; afterwards the pipeline may put its parts back, where it offloads them.

        Raises:
            EditError: A slider is open.
        """
        with use_of(self._model.network).alone():
            try:
                yield
            finally:
                self._model.rest()

    def _check_fits(self, *attributes: Attribute) -> None:
        """Check that attributes fit the model, and log what may make them weaker here."""
        for attribute in attributes:
            for note in check_model(attribute, self.family):
                LOGGER.info("%s", note)
