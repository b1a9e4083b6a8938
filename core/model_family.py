"""What kind of model an attribute was learned on, and whether it fits another: what its file says of itself.

Ours, not a paper's. The numbers decide: a bottleneck of another width, another count of latent pixels for each of its
places, another latent format or another width of the text means that what was learned has no meaning there. Where the
numbers agree, a fine-tuned model of another name may still work, so that only a note is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from .errors import EditError
from .layers import AUTO, MAX_DIGITS, MIDDLE_BLOCK, block_of, choose_block, layer_text

NOT_RECORDED = "family not recorded"
# What a file records as whole numbers; one that does not, records 0.
NUMBERS = ("bottleneck_channels", "place_size", "text_width", "blocks")


# What people call a family, by what ComfyUI calls its architecture and what it predicts.
CALLED = {
    ("SD15", "eps"): "SD 1.5",
    ("SD20", "eps"): "SD 2.x",
    ("SD20", "v_prediction"): "SD 2.x of v-prediction",
    ("SDXL", "eps"): "SDXL",
    ("SD3", "flow"): "SD3",
    ("Flux", "flux"): "Flux",
    ("FluxSchnell", "flux"): "Flux schnell",
    ("QwenImage", "flux"): "Qwen-Image",
    ("DemoConfig", "eps"): "Demo Face Model",
    ("DemoTransformerConfig", "flow"): "Demo Face Model (transformer)",
}


@dataclass(frozen=True)
class ModelFamily:
    """The kind of a model.

    Attributes:
        model_class: ComfyUI's name of its architecture, such as "SD15" or "SDXL".
        latent_format: ComfyUI's name of its latents, such as "SD15" or "Flux".
        prediction: What it predicts: "eps", "v_prediction", "flow", ...
        bottleneck_channels: Width of h: of its U-Net's bottleneck or of its transformer's image tokens; 0 where there
            is none.
        place_size: Latent pixels along each side for one place of h; 0 where there is none.
        text_width: Width of its text embedding; 0 where unknown.
        blocks: Blocks of its transformer, after each of which h may be taken; 0 for a U-Net.
    """

    model_class: str
    latent_format: str
    prediction: str
    bottleneck_channels: int = 0
    place_size: int = 0
    text_width: int = 0
    blocks: int = 0

    @classmethod
    def from_info(cls, info: Mapping[str, str]) -> ModelFamily | None:
        """Read the family out of a file's info.

        Args:
            info: Free text by key, from a file of anybody.

        Returns:
            The family; None where the file does not record it, or records something else than numbers.
        """
        if "model_class" not in info:
            return None
        texts = [info.get(name, "") for name in ("model_class", "latent_format", "prediction")]
        numbers = []
        for name in NUMBERS:
            text = info.get(name, "0")
            if not text.isdecimal() or len(text) > MAX_DIGITS:
                return None
            numbers.append(int(text))
        model_class, latent_format, prediction = texts
        return cls(model_class, latent_format, prediction, *numbers)

    def info(self) -> dict[str, str]:
        """Return the family as free text by key, for a file."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}

    def text(self) -> str:
        """Return the family as people call it: "SD 1.5", or "WAN21_T2V (flow, latents of Wan21)" where it is rare."""
        name = CALLED.get((self.model_class, self.prediction))
        return name or f"{self.model_class} ({self.prediction}, latents of {self.latent_format})"

    def choose_layer(self, layer: str, depth: float) -> str:
        """Choose where h is.

        Args:
            layer: AUTO, or the name of a layer.
            depth: Where AUTO stands in a transformer, as a share of its blocks.

        Returns:
            The layer's name.

        Raises:
            EditError: The model has no such layer.
        """
        if self.blocks:
            return choose_block(layer, self.blocks, depth)
        if layer not in (AUTO, MIDDLE_BLOCK):
            raise EditError(f"layer is '{layer}' but this model is a U-Net; '{MIDDLE_BLOCK}' or '{AUTO}' is accepted.")
        return MIDDLE_BLOCK

    def same_kind(self, other: ModelFamily, *, bottleneck: bool) -> bool:
        """Return whether what was learned on one can mean something on the other.

        Args:
            other: The other model's family.
            bottleneck: Whether the bottleneck and what its decoder listens to must agree too; latents alone are
                compared otherwise.
        """
        if self.latent_format != other.latent_format:
            return False
        return not bottleneck or (
            (self.bottleneck_channels, self.place_size, self.text_width)
            == (other.bottleneck_channels, other.place_size, other.text_width)
        )


def check_layer(name: str, layer: str, here: ModelFamily) -> None:
    """Check that a model has the layer that a direction was learned at.

    Args:
        name: The direction's name, for the sentence.
        layer: The layer's name.
        here: The family of the model that it is to be applied to.

    Raises:
        EditError: The model has no such layer.
    """
    block = block_of(layer)
    if (block is not None) != bool(here.blocks) or (block or 0) > max(0, here.blocks - 1):
        kind = f"a transformer of {here.blocks} blocks" if here.blocks else "a U-Net"
        raise EditError(
            f"'{name}' was learned at {layer_text(layer)} but this model is {kind}, {here.text()}; "
            "use a model of the family it was learned on, or learn the attribute on this one."
        )


def check_family(name: str, info: Mapping[str, str], here: ModelFamily, *, bottleneck: bool) -> list[str]:
    """Check that an attribute was learned on a model of this kind.

    Args:
        name: The attribute's name, for the sentences.
        info: What its file says.
        here: The family of the model that it is to be applied to.
        bottleneck: Whether it lives in the bottleneck; in the latent otherwise.

    Returns:
        Notes for the user where it may not work as well as on its own model.

    Raises:
        EditError: It was learned on another kind of model.
    """
    learned_on = ModelFamily.from_info(info)
    if learned_on is None:
        return [f"'{name}': {NOT_RECORDED}; use it with the model that it was learned on."]
    if not learned_on.same_kind(here, bottleneck=bottleneck):
        raise EditError(
            f"'{name}' was learned on {learned_on.text()} but this model is {here.text()}; "
            "use a model of the family it was learned on, or learn the attribute on this one."
        )
    if (learned_on.model_class, learned_on.prediction) != (here.model_class, here.prediction):
        return [f"'{name}' was learned on {learned_on.text()} and is used on {here.text()}; it may be weaker there."]
    return []
