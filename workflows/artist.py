"""The artist workflows on the demo model, which run as they are."""

from __future__ import annotations

import steps
import svd
from pieces import CLIP, VAE, Place, Workflow
from steps import BEGIN, CFG_NOTE, DEMO_SIDE, DEMO_SIZE_TITLE, DRAW, GET, OWN, START, STRENGTH

FACE = 8
FACE_INPUT = ("picture", "seed", "which face")
GLASSES_NOTE = (
    "**Glasses on a picture.** Press Run. *Learn Attribute* learns from two short texts what glasses are, once, "
    "in 20 seconds to a minute on a CPU. *Edit Picture* then shows the face before and after.\n\n"
    f"{STRENGTH}\n\n"
    "**Another attribute:** write *a face with a hat* into *with*. "
    "The demo model knows smile, glasses, hat and beard.\n\n"
    f"{OWN}"
)
SAVED_NOTE = (
    "**A saved attribute on a picture.** *Load Attribute* takes a file: your own, or a friend's, from "
    "*models/latent_attributes*. *Edit Picture* shows the face before and after.\n\n"
    f"{STRENGTH}\n\n"
    "**Your own checkpoint and picture:** put *Load Checkpoint* in place of *Demo Face Model*, *Load Image* in place "
    "of *Demo Face*, and choose a file that was learned on a checkpoint of the same family, such as SD 1.5."
)
LIKE_A_LORA_NOTE = (
    "**An attribute like a LoRA.** The stock graph with two more nodes: *Load Attribute*, "
    "and *Apply Attribute* between the model and the sampler. It works with any sampler, LoRA or ControlNet.\n\n"
    "**The one knob** is *strength* in *Apply Attribute*: at 0 you get the picture of the bare model, "
    f"below 0 draws less of it. {CFG_NOTE}\n\n"
    "**Your own model:** put your checkpoint loader in place of *Demo Face Model*, *Learn Attribute* in place of "
    "*Load Attribute*, and your size into *Empty Latent Image*."
)
STRENGTHS_NOTE = (
    "**One picture at five strengths**, with labels.\n\n"
    "**The one knob** is *strengths*: as many numbers as you like; -1 to 1.4 is the useful range. "
    "Take the best one to *Edit Picture*.\n\n"
    f"{OWN} Put *Strength Sheet* in place of *Edit Picture* there."
)
TWO_NOTE = (
    "**Two attributes at once.** *Apply Attribute* twice, one behind the other: each has its own *strength*. "
    "More follow the same way.\n\n"
    "**The two knobs** are the strengths of the two *Apply Attribute*. At 0 and 0 you get the picture of the bare "
    "model.\n\n"
    "**On a picture of yours:** *Two attributes on a picture*."
)
TWO_ON_PICTURE_NOTE = (
    "**Two attributes on one picture.** *Combine Directions* adds them; "
    "*Edit Picture* shows the face before and after.\n\n"
    "**The two knobs** are in *Combine Directions*: the first weight is the hat, the second the glasses. Below 0 takes "
    "one away. The strength of *Edit Picture* scales both.\n\n"
    f"{OWN}"
)
DRAWINGS_NOTE = (
    "**From two drawings.** A face without and with a hat: what differs is learned, without any words, "
    "and put on another face.\n\n"
    "**The one knob** is *strength* in *Edit Picture*. This kind of attribute stays where it was in the drawings, and "
    "comes within a small range of strengths.\n\n"
    "**Your own drawings:** put *Load Image* in place of the three *Demo Faces*, all at the model's size, "
    "and your checkpoint loader in place of *Demo Face Model*."
)


def put_glasses() -> Workflow:
    """Describe: learn from two texts, and edit a picture."""
    nodes = [
        steps.note(GLASSES_NOTE),
        steps.demo_model(),
        steps.demo_face(Place(0, START), FACE, smile="off", glasses="off", hat="off", beard="off"),
        steps.learn(Place(1, GET)),
        steps.prepare(1),
        *steps.edit(2),
    ]
    inputs = (FACE_INPUT, ("attribute", "without"), ("attribute", "with"), ("edit", "strength"))
    return Workflow("Put glasses on a picture", nodes, inputs, ("edit", "save"))


def saved_attribute() -> Workflow:
    """Describe: load a file, and edit a picture."""
    nodes = [
        steps.note(SAVED_NOTE),
        steps.demo_model(),
        steps.demo_face(Place(0, START), FACE, hat="off"),
        steps.load(Place(1, GET), "hat"),
        steps.prepare(1),
        *steps.edit(2),
    ]
    inputs = (FACE_INPUT, ("attribute", "file"), ("edit", "strength"))
    return Workflow("Slide a saved attribute", nodes, inputs, ("edit", "save"))


def like_a_lora() -> Workflow:
    """Describe: the stock text-to-image graph with an attribute."""
    nodes = [
        steps.note(LIKE_A_LORA_NOTE, BEGIN),
        steps.load(Place(0, BEGIN), "glasses"),
        steps.demo_model(BEGIN),
        steps.apply(Place(1, DRAW), "apply", steps.ATTRIBUTE),
        *steps.prompts(1, "a face"),
        *steps.draw(1, ("apply", 0), 3, DEMO_SIDE, DEMO_SIZE_TITLE),
    ]
    inputs = (("positive", "text"), ("attribute", "file"), ("apply", "strength"), ("sampler", "seed"))
    return Workflow("Apply an attribute like a LoRA (text to image)", nodes, inputs, ("save",))


def five_strengths() -> Workflow:
    """Describe: a picture at several strengths."""
    sheet = Place(2, steps.SLIDE).node(
        "sheet", "SingularEditStrengthSheet", "Strength Sheet", picture=steps.PREPARED, attribute=steps.ATTRIBUTE
    )
    nodes = [
        steps.note(STRENGTHS_NOTE),
        steps.demo_model(),
        steps.demo_face(Place(0, START), FACE, smile="off"),
        steps.load(Place(1, GET), "smile"),
        steps.prepare(1),
        sheet,
        steps.save(3, ("sheet", 0), "Save Image: the sheet"),
    ]
    inputs = (FACE_INPUT, ("attribute", "file"), ("sheet", "strengths"))
    return Workflow("Five strengths with labels", nodes, inputs, ("sheet",))


def two_attributes() -> Workflow:
    """Describe: two attributes, one behind the other, in a text-to-image graph."""
    hat, glasses = ("apply hat", 0), ("apply glasses", 0)
    nodes = [
        steps.note(TWO_NOTE, BEGIN),
        steps.load(Place(0, BEGIN), "hat", "hat", "Load Attribute: a hat"),
        steps.demo_model(BEGIN),
        steps.apply(Place(1, BEGIN), "apply hat", ("hat", 0), "Apply Attribute: the hat"),
        steps.load(Place(1, BEGIN), "glasses", "glasses", "Load Attribute: glasses"),
        steps.apply(Place(2, DRAW), "apply glasses", ("glasses", 0), "Apply Attribute: the glasses", model=hat),
        *steps.prompts(2, "a face"),
        *steps.draw(2, glasses, 3, DEMO_SIDE, DEMO_SIZE_TITLE),
    ]
    inputs = (
        ("positive", "text"),
        ("apply hat", "strength", "the hat"),
        ("apply glasses", "strength", "the glasses"),
        ("sampler", "seed"),
    )
    return Workflow("Two attributes at once", nodes, inputs, ("save",))


def two_on_a_picture() -> Workflow:
    """Describe: the sum of two attributes on a picture."""
    group = "3. Both, and the picture"
    both = Place(2, group).node(
        "both",
        "SingularEditCombineH",
        "Combine Directions",
        direction_1=("hat", 0),
        weight_1=1.0,
        direction_2=("glasses", 0),
        weight_2=1.0,
    )
    nodes = [
        steps.note(TWO_ON_PICTURE_NOTE),
        steps.demo_model(),
        steps.demo_face(Place(0, START), FACE, hat="off", glasses="off"),
        steps.load(Place(1, GET), "hat", "hat", "Load Attribute: a hat"),
        steps.load(Place(1, GET), "glasses", "glasses", "Load Attribute: glasses"),
        both,
        steps.prepare(2, group),
        *steps.edit(3, ("both", 0)),
    ]
    weights = (("both", "weight_1", "the hat"), ("both", "weight_2", "the glasses"))
    inputs = (FACE_INPUT, *weights, ("edit", "strength", "strength of both"))
    return Workflow("Two attributes on a picture", nodes, inputs, ("edit", "save"))


def from_two_drawings() -> Workflow:
    """Describe: an attribute from two pictures, on a third."""
    drawings, words = "1. Two drawings", Place(1, "2. Both as codes")
    nodes = [
        steps.note(DRAWINGS_NOTE, drawings),
        steps.demo_model(drawings),
        steps.demo_face(Place(0, drawings), 5, "before", "Demo Face: without", hat="off"),
        steps.demo_face(Place(0, drawings), 5, "after", "Demo Face: with", hat="on"),
        words.schedule(),
        words.node("source", "CLIPTextEncode", "What all of them show", text="a face", clip=CLIP),
        words.node("negative", "CLIPTextEncode", "Negative prompt", text="", clip=CLIP),
        words.node("before encode", "VAEEncode", "VAE Encode: without", pixels=("before", 0), vae=VAE),
        words.node("after encode", "VAEEncode", "VAE Encode: with", pixels=("after", 0), vae=VAE),
        svd.code(Place(2, words.group), "before"),
        svd.code(Place(2, words.group), "after"),
        steps.demo_face(Place(2, "4. A third face"), 2, hat="off"),
        Place(3, "3. Learn the attribute").node(
            "attribute",
            "SingularEditSVDAttributeLearn",
            "SVD Attribute Learn",
            source=("before code", 0),
            target=("after code", 0),
            name="hat",
        ),
        steps.prepare(3, "5. Prepare it", describe="a face"),
        *steps.edit(4, group="6. Slide", strength=0.7),
    ]
    drawn = (("before", "seed", "drawing without"), ("after", "seed", "drawing with"))
    inputs = (*drawn, FACE_INPUT, ("edit", "strength"))
    return Workflow("From two drawings", nodes, inputs, ("edit", "save"))


WORKFLOWS = (
    put_glasses,
    saved_attribute,
    like_a_lora,
    five_strengths,
    two_attributes,
    two_on_a_picture,
    from_two_drawings,
)
