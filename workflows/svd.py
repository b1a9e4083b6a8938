"""The workflows of Latent SVD: an attribute from two prompts, and one from two pictures."""

from __future__ import annotations

from pieces import MODEL, NEGATIVE, SIGMAS, SOURCE, VAE, Link, Node, Place
from singular_edit.core.recipes.defaults import EDIT_GUIDANCE, T_X_STEP
from singular_edit.core.recipes.inversion import TRACED

ATTRIBUTE: Link = ("learn", 0)
SEED = 0
OTHER_SEED = 1

PROMPTS_NOTE = (
    "**Latent SVD.** *Latent Pair* samples one noise under two prompts, *a face* and *a face with a hat*. "
    "They share the first steps, where the layout forms, and branch as late as the attribute allows; "
    f"both stop at step {T_X_STEP} with leftover noise. "
    "*SVD Attribute Learn* keeps what differs as a few singular atoms. "
    "*Latent SVD Edit* slides it on a code, and the last KSampler goes on with the *source* prompt.\n\n"
    "A larger batch_size in *Shape* learns the mean of many pairs, which works better on other faces."
)
PICTURES_NOTE = (
    "**An attribute from two pictures.** No target prompt is needed: "
    "*Latent Invert* brings the picture before and the picture after to a code at one step, "
    "*SVD Attribute Learn* keeps what differs, *Latent SVD Edit* slides it on the code of another picture, "
    "and *Traced Sampler* goes on from there: without the edit it gives that picture back exactly.\n\n"
    "The attribute does not move: it stays where it was in the pair. "
    "It fits badly on faces that look another way; more pairs, as a batch, help. "
    "The two drawings differ in nothing but the hat, so a lower strength is enough: 0.7."
)


def learn(place: Place, **inputs: Link) -> list[Node]:
    """Return SVD Attribute Learn, with its plot and its report."""
    return [
        place.node("learn", "SingularEditSVDAttributeLearn", "SVD Attribute Learn", **inputs, name="hat"),
        place.plot("spectra", "Spectra", ("learn", 1)),
        place.report("learned", "Report", ("learn", 2)),
    ]


def edit(place: Place, name: str, latent: Link, **inputs: float) -> Node:
    """Return Latent SVD Edit with the learned attribute."""
    title = "Latent SVD Edit"
    return place.node(name, "SingularEditLatentSVDEdit", title, latent=latent, attribute=ATTRIBUTE, **inputs)


def svd_attribute() -> list[Node]:
    """Describe the workflow that learns from two prompts."""
    start = Place(0, "1. A model and two prompts")
    pair = Place(1, f"2. A pair of codes at step {T_X_STEP}")
    learning = Place(2, "3. Learn the attribute")
    same = "4. Slide it on that face"
    other = "5. Slide it on another face"
    shape: Link = ("shape", 0)
    return [
        start.note(PROMPTS_NOTE),
        *start.model(("source", "a face"), ("target", "a face with a hat"), ("negative", "")),
        pair.empty("shape", "Shape: 128 gives 256 here", 1),
        pair.schedule(),
        pair.node("noise", "RandomNoise", "A face", noise_seed=SEED),
        pair.node(
            "pair",
            "SingularEditLatentPair",
            "Latent Pair",
            model=MODEL,
            source=SOURCE,
            target=("target", 0),
            negative=NEGATIVE,
            noise=("noise", 0),
            latent_image=shape,
            sigmas=SIGMAS,
            at_step=T_X_STEP,
        ),
        pair.report("branched", "Where the prompts branch", ("pair", 4)),
        *learn(learning, source=("pair", 0), target=("pair", 1), source_sigma=("pair", 3)),
        learning.save(ATTRIBUTE, "hat"),
        edit(Place(3, same), "edit", ("pair", 0)),
        Place(3, same).ksampler("finish", "Go on with the source prompt", SEED, ("edit", 0), start=T_X_STEP),
        *Place(3, same).decode("edited", ("finish", 0), "That face, edited"),
        Place(4, same).ksampler("finish plain", "Without the edit", SEED, ("pair", 0), start=T_X_STEP),
        *Place(4, same).decode("plain", ("finish plain", 0), "That face, unedited"),
        Place(5, other).ksampler("other code", "Another seed", OTHER_SEED, shape, end=T_X_STEP),
        edit(Place(5, other), "edit other", ("other code", 0)),
        Place(5, other).ksampler(
            "finish other", "Go on with the source prompt", OTHER_SEED, ("edit other", 0), start=T_X_STEP
        ),
        *Place(6, other).decode("other edited", ("finish other", 0), "The other face, edited"),
        Place(6, other).ksampler(
            "finish other plain", "Without the edit", OTHER_SEED, ("other code", 0), start=T_X_STEP
        ),
        *Place(6, other).decode("other plain", ("finish other plain", 0), "The other face, unedited"),
    ]


def face(place: Place, name: str, seed: int, hat: str, title: str) -> list[Node]:
    """Return a demo face, its latent and its preview."""
    return [
        place.node(name, "SingularEditDemoFace", f"{title}: Demo Face (or Load Image)", seed=seed, hat=hat),
        place.node(f"{name} encode", "VAEEncode", "VAE Encode", pixels=(name, 0), vae=VAE),
        place.show(f"{name} shown", (name, 0), title),
    ]


def code(place: Place, name: str, **inputs: str) -> Node:
    """Return a face's code at T_x."""
    return place.node(
        f"{name} code",
        "SingularEditLatentInvert",
        f"Latent Invert: {name}",
        model=MODEL,
        positive=SOURCE,
        negative=NEGATIVE,
        latent_image=(f"{name} encode", 0),
        sigmas=SIGMAS,
        cfg=EDIT_GUIDANCE,
        stop_at_step=T_X_STEP,
        **inputs,
    )


def finish(place: Place, name: str, latent: Link, title: str) -> list[Node]:
    """Return the way back from a code of the other face, and its picture."""
    sampler = place.sample(f"finish {name}", "Go on from the code", ("follow", 0), ("other code", 3), latent)
    return [sampler, *place.decode(name, (sampler.name, 0), title)]


def svd_from_pictures() -> list[Node]:
    """Describe the workflow that learns from two pictures."""
    start = Place(0, "1. A model")
    pictures = "2. Two pictures, before and after"
    codes = Place(3, "3. Both as codes")
    learning = Place(4, "4. Learn the attribute")
    other = Place(5, "5. Another face")
    slide = "6. Slide it on"
    return [
        start.note(PICTURES_NOTE),
        *start.model(("source", "a face"), ("negative", "")),
        *face(Place(1, pictures), "before", 5, "off", "Before"),
        *face(Place(2, pictures), "after", 5, "on", "After"),
        codes.schedule(),
        code(codes, "before"),
        code(codes, "after"),
        *learn(learning, source=("before code", 0), target=("after code", 0)),
        *face(other, "other", 2, "off", "The other face"),
        code(other, "other", method=TRACED),
        Place(6, slide).node("follow", "SingularEditTracedSampler", "Traced Sampler", trace=("other code", 4)),
        edit(Place(6, slide), "edit", ("other code", 0), strength=0.7),
        *finish(Place(6, slide), "edited", ("edit", 0), "The other face with the hat"),
        *finish(Place(7, slide), "plain", ("other code", 0), "The other face, unedited"),
    ]
