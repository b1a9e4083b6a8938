"""What workflows are described with: nodes in columns, and the pieces that the advanced workflows have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from singular_edit.core.recipes.defaults import EDIT_GUIDANCE, LEARN_GUIDANCE, STEPS

# Output ``slot`` of the node with this name.
Link = tuple[str, int]
MODEL: Link = ("model", 0)
CLIP: Link = ("model", 1)
VAE: Link = ("model", 2)
# Prompts of every workflow.
SOURCE: Link = ("source", 0)
NEGATIVE: Link = ("negative", 0)
SIGMAS: Link = ("sigmas", 0)


@dataclass
class Node:
    """A node of a workflow.

    Attributes:
        name: What links call it.
        type: Its node id.
        column: The column it stands in.
        group: Title of the group that is drawn around it.
        title: Title of the node.
        inputs: Widget values, or Links. Widgets left out take their defaults.
    """

    name: str
    type: str
    column: int
    group: str
    title: str
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workflow:
    """A workflow, and how it looks as an app.

    Attributes:
        name: Its name, a sentence, which is its file's name too.
        nodes: Its nodes; the first one is the note for the reader.
        inputs: (node, widget) that the app shows, and what it is called there where the widget's own name is not
            enough; none is no app.
        outputs: Nodes whose pictures the app shows.
    """

    name: str
    nodes: list[Node]
    inputs: tuple[tuple[str, ...], ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """A column of a group, which makes the nodes that stand in it."""

    column: int
    group: str

    def node(self, name: str, type_: str, title: str, /, **inputs: Any) -> Node:
        """Return a node with these inputs."""
        return Node(name, type_, self.column, self.group, title, inputs)

    def note(self, text: str) -> Node:
        """Return a note for the reader."""
        return self.node(f"note {self.group}", "MarkdownNote", "Read me", text=text)

    def plot(self, name: str, title: str, image: Link) -> Node:
        """Return a preview of a plot."""
        return self.node(name, "PreviewImage", title, images=image)

    def report(self, name: str, title: str, text: Link) -> Node:
        """Return a preview of a text."""
        return self.node(name, "PreviewAny", title, source=text)

    def model(self, *prompts: tuple[str, str]) -> list[Node]:
        """Return the demo model, and a CLIP Text Encode for each (name, text)."""
        nodes = [self.node("model", "SingularEditDemoModel", "Demo Face Model")]
        for name, text in prompts:
            nodes.append(self.node(name, "CLIPTextEncode", f'{name}: "{text}"', text=text, clip=CLIP))
        return nodes

    def show(self, name: str, image: Link, title: str) -> Node:
        """Return a preview of a picture."""
        return self.node(name, "PreviewImage", title, images=image)

    def empty(self, name: str, title: str, batch_size: int) -> Node:
        """Return empty latents of the demo model's size."""
        return self.node(name, "EmptyLatentImage", title, width=128, height=128, batch_size=batch_size)

    def decode(self, name: str, samples: Link, title: str) -> list[Node]:
        """Return VAE Decode and a preview of what it gives."""
        decoded = self.node(f"{name} decode", "VAEDecode", "VAE Decode", samples=samples, vae=VAE)
        return [decoded, self.show(name, (decoded.name, 0), title)]

    def picture(self, seed: int, **attributes: str) -> list[Node]:
        """Return a demo face, its latent and its preview."""
        return [
            self.node("face", "SingularEditDemoFace", "Demo Face (or Load Image)", seed=seed, **attributes),
            self.node("encode", "VAEEncode", "VAE Encode", pixels=("face", 0), vae=VAE),
            self.show("original", ("face", 0), "The picture"),
        ]

    def schedule(self) -> Node:
        """Return the sampler's schedule."""
        title = "The sampler's own sigmas"
        return self.node("sigmas", "BasicScheduler", title, model=MODEL, scheduler="normal", steps=STEPS, denoise=1.0)

    def invert(self, **inputs: Any) -> list[Node]:
        """Return the inversion of the picture, and its report."""
        inverted = self.node(
            "invert",
            "SingularEditLatentInvert",
            "Latent Invert",
            model=MODEL,
            positive=SOURCE,
            negative=NEGATIVE,
            latent_image=("encode", 0),
            sigmas=SIGMAS,
            cfg=EDIT_GUIDANCE,
            **inputs,
        )
        return [inverted, self.report("report", "Report of the inversion", ("invert", 2))]

    def sample(self, name: str, title: str, sampler: Link, sigmas: Link, latent: Link) -> Node:
        """Return the way back from a code, without noise."""
        return self.node(
            name,
            "SamplerCustom",
            title,
            model=MODEL,
            add_noise=False,
            noise_seed=0,
            cfg=EDIT_GUIDANCE,
            positive=SOURCE,
            negative=NEGATIVE,
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )

    def ksampler(self, name: str, title: str, seed: int, latent: Link, *, start: int = 0, end: int = STEPS) -> Node:
        """Return a KSampler (Advanced) under the source prompt, which adds noise at step 0."""
        return self.node(
            name,
            "KSamplerAdvanced",
            title,
            model=MODEL,
            add_noise="enable" if start == 0 else "disable",
            noise_seed=seed,
            steps=STEPS,
            cfg=LEARN_GUIDANCE,
            sampler_name="euler",
            scheduler="normal",
            positive=SOURCE,
            negative=NEGATIVE,
            latent_image=latent,
            start_at_step=start,
            end_at_step=end,
            return_with_leftover_noise="enable" if end < STEPS else "disable",
        )

    def save(self, attribute: Link, prefix: str) -> Node:
        """Return Save Attribute."""
        title = "Save Attribute"
        return self.node("save", "SingularEditSaveAttribute", title, attribute=attribute, filename_prefix=prefix)
