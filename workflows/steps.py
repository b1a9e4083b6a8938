"""The steps of the artist workflows: a model and a picture, an attribute, Prepare Picture, Edit Picture, a sampler."""

from __future__ import annotations

from typing import Any

from pieces import CLIP, MODEL, VAE, Link, Node, Place
from singular_edit.core.recipes.defaults import LEARN_GUIDANCE, STEPS

START = "1. Model and picture"
GET = "2. The attribute"
PREPARE = "3. Prepare the picture"
SLIDE = "4. Slide"
# Of text-to-image graphs.
BEGIN = "1. Model and attribute"
DRAW = "2. Draw"
PICTURE: Link = ("picture", 0)
ATTRIBUTE: Link = ("attribute", 0)
PREPARED: Link = ("prepare", 0)
# Words that more than one note says.
STRENGTH = "**The one knob** is *strength*: 0 is the picture as it was, below 0 takes the attribute away."
OWN = "**Your own picture:** the workflows *Your own checkpoint* take yours, with *Load Image*."
CFG_NOTE = "1 is the whole change, at any *cfg* of the sampler."
# The latent pixels of the demo model are 16 pixels wide, and ComfyUI's empty latents count 8.
DEMO_SIDE = 128
DEMO_SIZE_TITLE = "Empty Latent: 128 gives 256 here"


def note(text: str, group: str = START) -> Node:
    """Return the note for the reader, which begins the first column."""
    return Place(0, group).note(text)


def demo_model(group: str = START) -> Node:
    """Return the demo model."""
    return Place(0, group).node("model", "SingularEditDemoModel", "Demo Face Model")


def demo_face(place: Place, seed: int, name: str = "picture", title: str = "Demo Face", **switches: str) -> Node:
    """Return a drawn face."""
    return place.node(name, "SingularEditDemoFace", title, seed=seed, **switches)


def checkpoint(file: str, group: str = START) -> Node:
    """Return a checkpoint loader."""
    return Place(0, group).node("model", "CheckpointLoaderSimple", "Load Checkpoint: choose yours", ckpt_name=file)


def load_image(place: Place, name: str = "picture", title: str = "Load Image: your picture") -> Node:
    """Return Load Image, with the picture that comes with ComfyUI."""
    return place.node(name, "LoadImage", title, image="example.png")


def learn(place: Place, *, model: Link = MODEL, clip: Link = CLIP, **inputs: Any) -> Node:
    """Return Learn Attribute: glasses, where no texts are given."""
    return place.node("attribute", "SingularEditLearnAttribute", "Learn Attribute", model=model, clip=clip, **inputs)


def load(place: Place, attribute: str, name: str = "attribute", title: str = "Load Attribute") -> Node:
    """Return Load Attribute with a readout that comes with the pack."""
    return place.node(name, "SingularEditLoadAttribute", title, file=f"demo/{attribute}.readout.safetensors")


def apply(
    place: Place, name: str, attribute: Link, title: str = "Apply Attribute", *, model: Link = MODEL, **inputs: Any
) -> Node:
    """Return Apply Attribute."""
    return place.node(name, "SingularEditApplyAttribute", title, model=model, attribute=attribute, **inputs)


def prepare(column: int, group: str = PREPARE, *, model: Link = MODEL, clip: Link = CLIP, **inputs: Any) -> Node:
    """Return Prepare Picture."""
    wires = dict(model=model, clip=clip, vae=VAE, image=PICTURE)
    place = Place(column, group)
    return place.node("prepare", "SingularEditPreparePicture", "Prepare Picture", **wires, **inputs)


def edit(column: int, attribute: Link = ATTRIBUTE, group: str = SLIDE, **inputs: Any) -> list[Node]:
    """Return Edit Picture, and Save Image behind it."""
    wires = dict(picture=PREPARED, attribute=attribute)
    node = Place(column, group).node("edit", "SingularEditEditPicture", "Edit Picture", **wires, **inputs)
    return [node, save(column + 1, ("edit", 0), "Save Image: after", group)]


def save(column: int, images: Link, title: str, group: str = SLIDE) -> Node:
    """Return Save Image."""
    return Place(column, group).node("save", "SaveImage", title, images=images, filename_prefix="SingularEdit")


def prompts(column: int, positive: str, group: str = DRAW) -> list[Node]:
    """Return the two prompts of a text-to-image graph."""
    place = Place(column, group)
    return [
        place.node("positive", "CLIPTextEncode", "Prompt", text=positive, clip=CLIP),
        place.node("negative", "CLIPTextEncode", "Negative prompt", text="", clip=CLIP),
    ]


def draw(
    column: int, model: Link, seed: int, side: int, title: str = "Empty Latent Image", **inputs: Any
) -> list[Node]:
    """Return the rest of the stock text-to-image graph: an empty latent in ``column``, and what follows it."""
    options: dict[str, Any] = dict(positive=("positive", 0), negative=("negative", 0), cfg=LEARN_GUIDANCE)
    sampler = Place(column + 1, DRAW).node(
        "sampler",
        "KSampler",
        "KSampler",
        model=model,
        seed=seed,
        steps=STEPS,
        sampler_name="euler",
        scheduler="normal",
        latent_image=("empty", 0),
        **{**options, **inputs},
    )
    decode = Place(column + 2, DRAW).node("decode", "VAEDecode", "VAE Decode", samples=("sampler", 0), vae=VAE)
    return [
        Place(column, DRAW).node("empty", "EmptyLatentImage", title, width=side, height=side, batch_size=1),
        sampler,
        decode,
        save(column + 3, ("decode", 0), "Save Image", DRAW),
    ]
