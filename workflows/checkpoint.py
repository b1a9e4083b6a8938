"""The artist workflows for a checkpoint of the user's own."""

from __future__ import annotations

import steps
from pieces import CLIP, MODEL, Link, Place, Workflow
from steps import BEGIN, CFG_NOTE, DRAW, GET, START, STRENGTH

SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
SDXL = "sd_xl_base_1.0.safetensors"
SIDE = 512
CFG = 6.0
PREFIX = "**Choose your checkpoint and your picture**, and press Run. "
TEXTS = (
    "**Another attribute:** say in *without* and *with* what the picture shows, without it and with it. "
    "Change little else between the two texts."
)
ONCE = (
    "*Learn Attribute* takes as long as drawing some 45 pictures with SD 1.5, or 20 with SDXL, once for a model and a "
    "pair of texts; its file is found again by itself. With *effort* quick it takes half to two thirds of that. "
    "It runs even where nothing is wired to it: delete it, or mute it (Ctrl+M), when you load a file instead. "
    "A checkpoint without a VAE needs *Load VAE*."
)
OWN_NOTE = (
    f"{PREFIX}*Edit Picture* shows it before and after.\n\n{STRENGTH} Only *Edit Picture* runs again when you move it."
    f"\n\n{TEXTS}\n\n{ONCE}"
)
LORA_NOTE = (
    f"{PREFIX}The LoRA stands before everything else, so that learning, preparing and editing see the same model.\n\n"
    f"{STRENGTH}\n\n{TEXTS}\n\n{ONCE}"
)
CONTROL_NOTE = (
    "**Choose your checkpoint, a ControlNet of its family and the picture it reads**, such as edges or a pose, "
    "and press Run. The ControlNet keeps the layout, *Apply Attribute* adds the attribute.\n\n"
    "**The one knob** is *strength* in *Apply Attribute*: at 0 you get the picture without it. "
    f"{CFG_NOTE}\n\n{TEXTS}\n\n{ONCE}"
)
# What a person sets in the app: two files, two texts and the strength.
OWN_INPUTS = (
    ("model", "ckpt_name"),
    ("picture", "image"),
    ("attribute", "without"),
    ("attribute", "with"),
    ("edit", "strength"),
)


def own(name: str, file: str) -> Workflow:
    """Describe: glasses on a picture, with a checkpoint."""
    nodes = [
        steps.note(OWN_NOTE),
        steps.checkpoint(file),
        steps.load_image(Place(0, START)),
        steps.learn(Place(1, GET)),
        steps.prepare(1),
        *steps.edit(2, on_original=True),
    ]
    return Workflow(name, nodes, OWN_INPUTS, ("edit", "save"))


def sd15() -> Workflow:
    """Describe: a checkpoint of SD1.5."""
    return own("Your own checkpoint, SD1.5", SD15)


def sdxl() -> Workflow:
    """Describe: a checkpoint of SDXL."""
    return own("Your own checkpoint, SDXL", SDXL)


def with_lora() -> Workflow:
    """Describe: a checkpoint with a LoRA."""
    model: Link = ("lora", 0)
    clip: Link = ("lora", 1)
    lora = Place(1, START).node(
        "lora", "LoraLoader", "Load LoRA: choose yours", model=MODEL, clip=CLIP, lora_name="your_lora.safetensors"
    )
    nodes = [
        steps.note(LORA_NOTE),
        steps.checkpoint(SD15),
        lora,
        steps.load_image(Place(1, START)),
        steps.learn(Place(2, GET), model=model, clip=clip),
        steps.prepare(2, model=model, clip=clip),
        *steps.edit(3, on_original=True),
    ]
    inputs = (OWN_INPUTS[0], ("lora", "lora_name"), ("lora", "strength_model"), *OWN_INPUTS[1:])
    return Workflow("Your own checkpoint with a LoRA", nodes, inputs, ("edit", "save"))


def with_controlnet() -> Workflow:
    """Describe: Apply Attribute in a text-to-image graph with a ControlNet."""
    controlled = Place(2, DRAW).node(
        "control",
        "ControlNetApplyAdvanced",
        "Apply ControlNet",
        positive=("positive", 0),
        negative=("negative", 0),
        control_net=("controlnet", 0),
        image=("picture", 0),
    )
    nodes = [
        steps.note(CONTROL_NOTE, BEGIN),
        steps.checkpoint(SD15, BEGIN),
        Place(0, BEGIN).node(
            "controlnet",
            "ControlNetLoader",
            "Load ControlNet: choose yours",
            control_net_name="control_v11p_sd15_canny.safetensors",
        ),
        steps.load_image(Place(0, BEGIN), title="Load Image for the ControlNet"),
        steps.learn(Place(1, BEGIN)),
        *steps.prompts(1, "a photo of a face", BEGIN),
        steps.apply(Place(2, DRAW), "apply", steps.ATTRIBUTE),
        controlled,
        *steps.draw(2, ("apply", 0), 0, SIDE, positive=("control", 0), negative=("control", 1), cfg=CFG),
    ]
    inputs = (
        ("model", "ckpt_name"),
        ("controlnet", "control_net_name"),
        ("picture", "image"),
        ("positive", "text"),
        ("attribute", "without"),
        ("attribute", "with"),
        ("apply", "strength"),
        ("sampler", "seed"),
    )
    return Workflow("Your own checkpoint with a ControlNet", nodes, inputs, ("save",))


WORKFLOWS = (sd15, sdxl, with_lora, with_controlnet)
