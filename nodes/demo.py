"""The embedded face model and its faces, so that every workflow runs without a download."""

from __future__ import annotations

from comfy_api.latest import io

from ..demo import faces
from .inputs import CATEGORY, seed_input

CHOICES = ["as drawn", "on", "off"]


class DemoFaceModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditDemoModel",
            display_name="Demo Face Model",
            category=f"{CATEGORY}/demo",
            description="A tiny text-to-image model of drawn 64x64 faces that comes with the pack (15 MB). It knows the words face, smile, glasses, hat and "
            "beard, and works with every stock node, LoRA and ControlNet included. Take its latent size from VAE Encode, or Empty Latent Image 128x128.",
            inputs=[],
            outputs=[
                io.Model.Output("model", display_name="MODEL", tooltip="The U-Net, of the SD 1.x family."),
                io.Clip.Output(
                    "clip", display_name="CLIP", tooltip="Its word-level text encoder, for CLIP Text Encode."
                ),
                io.Vae.Output(
                    "vae", display_name="VAE", tooltip="Its VAE: 4 channels, latents 4 times smaller than the picture."
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..demo.comfyui import load

        return io.NodeOutput(*load())


class DemoFace(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def attribute(name: str) -> io.Combo.Input:
            return io.Combo.Input(
                name,
                options=CHOICES,
                default="as drawn",
                tooltip=f"on or off switches {name} and leaves the rest of the face as it is.",
            )

        return io.Schema(
            node_id="SingularEditDemoFace",
            display_name="Demo Face",
            category=f"{CATEGORY}/demo",
            description="Draws one 64x64 face. The same seed with an attribute switched is that face's true counterfactual.",
            inputs=[
                seed_input("seed", "One face a seed. The demo model was trained on seeds from 1000000 up."),
                *(attribute(name) for name in faces.ATTRIBUTES),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The picture, 64x64.")],
        )

    @classmethod
    def execute(cls, seed, smile, glasses, hat, beard) -> io.NodeOutput:
        values = {"as drawn": None, "on": True, "off": False}
        picture = faces.render(seed, smile=values[smile], glasses=values[glasses], hat=values[hat], beard=values[beard])
        return io.NodeOutput(picture.movedim(1, -1))


NODES = [DemoFaceModel, DemoFace]
