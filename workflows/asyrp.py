"""The workflows of Asyrp: one direction, and several on one picture."""

from __future__ import annotations

from typing import Any

from pieces import MODEL, NEGATIVE, SIGMAS, SOURCE, VAE, Link, Node, Place
from singular_edit.core.recipes.defaults import EDIT_GUIDANCE
from singular_edit.core.recipes.inversion import TRACED

START = "1. A model and a picture"
INVERT = "2. Invert"

ONE_NOTE = (
    "**Asyrp.** *h-Space Direction Learn* learns from the two prompts to read off the U-Net's bottleneck "
    "how the picture would change. *Asyrp Sampler* resamples the inverted picture with it. "
    "The *trace* of *Latent Invert* brings the picture back exactly at strength 0; negative strength removes. "
    "The node has other methods of learning, the paper's own among them.\n\n"
    "Learning takes about a minute on a CPU. *Save Attribute* saves the direction, "
    "and *Load h-Direction* loads it at once next time."
)
TWO_NOTE = (
    "**Several directions on one picture.** *Combine Directions* adds directions, each with its weight: "
    "set a weight to 0 or below, or wire more directions. "
    "*Asyrp Schedule (auto)* measures the picture itself and tells Asyrp Sampler until when to edit.\n\n"
    "*h-Space Directions (PCA)* needs no second prompt: it finds what varies most among the model's own pictures. "
    "Try other components, and strengths below 0."
)


def learn(place: Place, name: str, target: str, *, samples: int, steps: int, title: str) -> Node:
    """Return h-Space Direction Learn: a readout towards the prompt ``target``, eight noises at a time."""
    return place.node(
        f"learn {name}",
        "SingularEditHDirectionLearn",
        title,
        model=MODEL,
        source=SOURCE,
        target=(target, 0),
        negative=NEGATIVE,
        latent_image=("batch", 0),
        sigmas=SIGMAS,
        samples=samples,
        steps=steps,
        name=name,
    )


def batch(place: Place) -> Node:
    """Return eight empty latents: learning takes their size and their number, and not the picture."""
    return place.empty("batch", "Eight: 128 gives 256 here", 8)


def edited(place: Place, name: str, direction: Link, **inputs: Any) -> list[Node]:
    """Return Asyrp Sampler on the trace of the inversion, and the inverted picture, resampled by it."""
    title = "Asyrp Sampler"
    inputs = {"direction": direction, "trace": ("invert", 4), **inputs}
    sampler = place.node(f"asyrp {name}", "SingularEditAsyrpSampler", title, **inputs)
    title = "SamplerCustom from the inverted code"
    return [sampler, place.sample(f"edit {name}", title, (sampler.name, 0), ("invert", 3), ("invert", 0))]


def asyrp_edit() -> list[Node]:
    """Describe the workflow with one direction."""
    learning = Place(3, "3. Learn a direction")
    edit = "4. Edit the picture"
    direction: Link = ("learn glasses", 0)
    return [
        Place(0, START).note(ONE_NOTE),
        *Place(0, START).model(("source", "a face"), ("target", "a face with glasses"), ("negative", "")),
        *Place(1, START).picture(8, glasses="off"),
        Place(2, INVERT).schedule(),
        *Place(2, INVERT).invert(method=TRACED),
        batch(learning),
        learn(learning, "glasses", "target", samples=256, steps=600, title="h-Space Direction Learn"),
        learning.plot("curve", "Learning curve", ("learn glasses", 1)),
        learning.report("learned", "Report", ("learn glasses", 2)),
        learning.save(direction, "glasses"),
        *edited(Place(4, edit), "edited", direction),
        *Place(5, edit).decode("edited", ("edit edited", 0), "The picture with glasses"),
    ]


def asyrp_two_directions() -> list[Node]:
    """Describe the workflow with two directions, the automatic schedule and a principal direction."""
    learning = "3. Learn two directions"
    until_when = Place(5, "4. Until when to edit")
    both = Place(6, "5. Both at once")
    varies = "6. What varies by itself"
    prompts = (
        ("source", "a face"),
        ("hat", "a face with a hat"),
        ("glasses", "a face with glasses"),
        ("negative", ""),
    )
    return [
        Place(0, START).note(TWO_NOTE),
        *Place(0, START).model(*prompts),
        *Place(1, START).picture(8, hat="off", glasses="off"),
        Place(2, INVERT).schedule(),
        *Place(2, INVERT).invert(method=TRACED),
        batch(Place(3, learning)),
        learn(Place(3, learning), "hat", "hat", samples=128, steps=400, title="h-Space Direction Learn: a hat"),
        learn(
            Place(4, learning), "glasses", "glasses", samples=128, steps=400, title="h-Space Direction Learn: glasses"
        ),
        Place(4, learning).node(
            "both",
            "SingularEditCombineH",
            "Combine Directions",
            direction_1=("learn hat", 0),
            weight_1=1.0,
            direction_2=("learn glasses", 0),
            weight_2=1.0,
        ),
        Place(4, learning).save(("both", 0), "glasses and hat"),
        until_when.node(
            "schedule",
            "SingularEditAsyrpSchedule",
            "Asyrp Schedule (auto)",
            model=MODEL,
            vae=VAE,
            latent_image=("encode", 0),
            positive=SOURCE,
            negative=NEGATIVE,
            sigmas=SIGMAS,
            cfg=EDIT_GUIDANCE,
        ),
        until_when.plot("curves", "Until when to edit, from when to boost", ("schedule", 2)),
        *edited(both, "both edited", ("both", 0), edit_percent=("schedule", 0)),
        *both.decode("both edited", ("edit both edited", 0), "With a hat and glasses"),
        Place(7, varies).node(
            "pca",
            "SingularEditHDirectionPCA",
            "h-Space Directions (PCA)",
            model=MODEL,
            positive=SOURCE,
            negative=NEGATIVE,
            latent_image=("batch", 0),
            sigmas=SIGMAS,
            samples=32,
            component=0,
        ),
        Place(7, varies).plot("explained", "How much each component explains", ("pca", 1)),
        *edited(Place(8, varies), "moved", ("pca", 0), strength=1.0),
        *Place(8, varies).decode("moved", ("edit moved", 0), "The picture, moved along it"),
    ]
