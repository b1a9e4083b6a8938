"""The embedded face models and their faces, so that every workflow runs without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import faces
from ..demo.architectures import ARCHITECTURES, UNET
from ..demo.enlarge import SHOWN_SIDE, enlarge
from .inputs import DEMO, seed_input

AS_DRAWN = "as drawn"
SWITCH = {AS_DRAWN: None, "on": True, "off": False}


def network_input(tooltip: str) -> io.Combo.Input:
    """Return the choice of an embedded model."""
    return io.Combo.Input("network", options=list(ARCHITECTURES), default=UNET.name, optional=True, tooltip=tooltip)


class DemoFaceModel(io.ComfyNode):
    """An embedded model as MODEL, CLIP and VAE."""

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
                f"Its pictures are {SHOWN_SIDE}x{SHOWN_SIDE}. "
                "For a new picture set Empty Latent Image to 128x128, and to 256x256 for the transformer."
            ),
            inputs=[
                network_input(
                    "unet is of the SD 1.x family. transformer is of the SD3 family: a flow model with finer pictures."
                ),
            ],
            outputs=[
                io.Model.Output(
                    "model",
                    display_name="MODEL",
                    tooltip="The U-Net, of the SD 1.x family, or the transformer, of the SD3 family.",
                ),
                io.Clip.Output(
                    "clip",
                    display_name="CLIP",
                    tooltip="Its word-level text encoder, for CLIP Text Encode.",
                ),
                io.Vae.Output(
                    "vae",
                    display_name="VAE",
                    tooltip=(
                        "Its VAE: 4 channels, latents 16 times smaller than the picture, 8 times for the transformer."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls, network: str = UNET.name) -> io.NodeOutput:
        """Load the model."""
        from ..demo.comfyui import load

        return io.NodeOutput(*load(network))


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
                f"Draws one {SHOWN_SIDE}x{SHOWN_SIDE} face. "
                "The same seed with an attribute switched is the same face with or without it."
            ),
            inputs=[
                seed_input("seed", "Each seed draws one face. The demo model was trained on seeds from 1000000 up."),
                *switches,
                network_input(
                    "The demo model that the picture is for. unet: 64x64 pixels, transformer: 128x128, both enlarged."
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip=f"The picture, {SHOWN_SIDE}x{SHOWN_SIDE}.")
            ],
        )

    @classmethod
    def execute(
        cls, seed: int, smile: str, glasses: str, hat: str, beard: str, network: str = UNET.name
    ) -> io.NodeOutput:
        """Draw the face."""
        model = ARCHITECTURES[network]
        picture = faces.render(
            seed,
            smile=SWITCH[smile],
            glasses=SWITCH[glasses],
            hat=SWITCH[hat],
            beard=SWITCH[beard],
            size=model.side,
        )
        return io.NodeOutput(enlarge(picture, model.enlargement).movedim(1, -1))


NODES = [DemoFaceModel, DemoFace]
