"""The embedded face model and its faces, so that every workflow runs without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import faces
from ..demo.enlarge import ENLARGEMENT, enlarge
from .inputs import DEMO, seed_input

AS_DRAWN = "as drawn"
SIDE = faces.SIZE * ENLARGEMENT  # of a picture, in pixels
SWITCH = {AS_DRAWN: None, "on": True, "off": False}


class DemoFaceModel(io.ComfyNode):
    """The embedded model as MODEL, CLIP and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditDemoModel",
            display_name="Demo Face Model",
            category=DEMO,
            description=(
                "A tiny text-to-image model of drawn faces that comes with the pack (15 MB). "
                "It knows the words face, smile, glasses, hat and beard, "
                "and works with every stock node, LoRA and ControlNet included. "
                f"Its pictures are {SIDE}x{SIDE}. For a new picture set Empty Latent Image to 128x128."
            ),
            inputs=[],
            outputs=[
                io.Model.Output("model", display_name="MODEL", tooltip="The U-Net, of the SD 1.x family."),
                io.Clip.Output(
                    "clip",
                    display_name="CLIP",
                    tooltip="Its word-level text encoder, for CLIP Text Encode.",
                ),
                io.Vae.Output(
                    "vae",
                    display_name="VAE",
                    tooltip="Its VAE: 4 channels, latents 16 times smaller than the picture.",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Load the model."""
        from ..demo.comfyui import load

        return io.NodeOutput(*load())


class DemoFace(io.ComfyNode):
    """A drawn face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        switches = []
        for name in faces.ATTRIBUTES:
            switch = io.Combo.Input(
                name,
                options=list(SWITCH),
                default=AS_DRAWN,
                tooltip=f"on or off switches {name} and leaves the rest of the face as it is.",
            )
            switches.append(switch)
        return io.Schema(
            node_id="SingularEditDemoFace",
            display_name="Demo Face",
            category=DEMO,
            description=(
                f"Draws one {SIDE}x{SIDE} face. "
                "The same seed with an attribute switched is the same face with or without it."
            ),
            inputs=[
                seed_input("seed", "Each seed draws one face. The demo model was trained on seeds from 1000000 up."),
                *switches,
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip=f"The picture, {SIDE}x{SIDE}.")],
        )

    @classmethod
    def execute(cls, seed: int, smile: str, glasses: str, hat: str, beard: str) -> io.NodeOutput:
        """Draw the face."""
        picture = faces.render(seed, smile=SWITCH[smile], glasses=SWITCH[glasses], hat=SWITCH[hat], beard=SWITCH[beard])
        return io.NodeOutput(enlarge(picture).movedim(1, -1))


NODES = [DemoFaceModel, DemoFace]
