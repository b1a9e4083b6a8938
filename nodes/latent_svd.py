"""Latent SVD: learn an attribute from a pair of codes, and slide it on a latent. No MODEL is needed."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..backends.comfyui.latents import latent_mask, latent_of
from ..core.fitting import Training
from ..core.latent_svd.apply import apply_attribute
from ..core.latent_svd.avi import LossWeights
from ..core.latent_svd.learn import learn_attribute
from ..core.saliency import FOCUS
from . import plots
from .inputs import CATEGORY, SVDAttributeType, atoms_inputs, attribute_of, seed_input

_WEIGHTS = LossWeights()


def _weight(id: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(id, default=default, min=0.0, max=100.0, step=0.01, round=False, tooltip=tooltip)


def _strength() -> io.Float.Input:
    return io.Float.Input(
        "strength",
        default=1.0,
        min=-10.0,
        max=10.0,
        step=0.05,
        round=False,
        tooltip="0 changes nothing, 1 is the whole attribute, on its own picture or on another; negative removes.",
    )


class SVDAttributeLearn(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditSVDAttributeLearn",
            display_name="SVD Attribute Learn",
            category=CATEGORY,
            description="Learns an attribute from a pair of noisy codes: those of Latent Pair, or of two KSampler (Advanced) with the same seed, one with the source prompt "
            "and one with the target prompt, both stopping halfway with leftover noise. A batch of pairs learns their mean.",
            inputs=[
                io.Latent.Input(
                    "source",
                    tooltip="The code under the source prompt, from Latent Pair, or from KSampler (Advanced) with end_at_step halfway and return_with_leftover_noise enabled.",
                ),
                io.Latent.Input(
                    "target",
                    tooltip="The code under the target prompt, from Latent Pair, or from the same seed and initial noise, at the same or a slightly later step.",
                ),
                io.Float.Input(
                    "source_sigma",
                    default=0.0,
                    min=0.0,
                    max=10000.0,
                    step=0.001,
                    round=False,
                    tooltip="Sigma of the source code, kept in the file. 0 = unknown.",
                ),
                io.Float.Input(
                    "target_sigma",
                    default=0.0,
                    min=0.0,
                    max=10000.0,
                    step=0.001,
                    round=False,
                    tooltip="Sigma of the target code. 0 = unknown, or equal to the source's.",
                ),
                io.Int.Input(
                    "rank",
                    default=12,
                    min=1,
                    max=256,
                    tooltip="Singular atoms a channel that take part. Few keep to the coarse layout; many let details in.",
                ),
                io.Combo.Input(
                    "predictor",
                    options=["closed_form", "mlp"],
                    default="closed_form",
                    tooltip="How new singular values are found. closed_form: the exact minimum of the loss, at once. mlp: the paper's small network, trained on the loss, which it keeps in the file.",
                ),
                _weight("target_weight", _WEIGHTS.target, "How strongly the attribute is let in."),
                _weight("source_weight", _WEIGHTS.source, "How strongly the source is kept."),
                _weight(
                    "target_spectrum_weight",
                    _WEIGHTS.target_spectrum,
                    "Keeps the target's singular values near their own: against saturation.",
                ),
                _weight(
                    "source_spectrum_weight",
                    _WEIGHTS.source_spectrum,
                    "Keeps the source's singular values near their own: for quality.",
                ),
                io.Int.Input(
                    "steps", default=1000, min=1, max=100000, tooltip="Training steps of mlp. closed_form has none."
                ),
                io.Float.Input(
                    "learning_rate",
                    default=1e-2,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=False,
                    tooltip="Learning rate of mlp. closed_form has none.",
                ),
                seed_input("seed", "Seed of mlp. closed_form draws nothing."),
                io.String.Input(
                    "name", default="attribute", tooltip="What the attribute is called in reports and in its file."
                ),
                io.Float.Input(
                    "focus",
                    default=FOCUS,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=False,
                    optional=True,
                    tooltip="Leaves out places where the pair hardly differs: a shade of the background, a drift of colours. 0 keeps every place, more keeps only where most happens.",
                ),
            ],
            outputs=[
                SVDAttributeType.Output(
                    "attribute", display_name="attribute", tooltip="Wire to Latent SVD Edit or Save Attribute."
                ),
                io.Image.Output(
                    "plot", display_name="plot", tooltip="Spectra of source, target and edit, a line a channel."
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Rank, size of the edit, and the share of it that its leading atoms hold.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        source,
        target,
        source_sigma,
        target_sigma,
        rank,
        predictor,
        target_weight,
        source_weight,
        target_spectrum_weight,
        source_spectrum_weight,
        steps,
        learning_rate,
        seed,
        name,
        focus=FOCUS,
    ) -> io.NodeOutput:
        weights = LossWeights(target_weight, source_weight, target_spectrum_weight, source_spectrum_weight)
        training, curve, bar = None, [], None
        if predictor == "mlp":
            training, bar = Training(steps, learning_rate, seed), comfy.utils.ProgressBar(steps)

        def advance(i, loss):
            comfy.model_management.throw_exception_if_processing_interrupted()
            curve.append(loss)
            bar.update(1)

        attribute = learn_attribute(
            latent_of(source, "source"),
            latent_of(target, "target"),
            rank,
            weights,
            focus=focus,
            sigma=source_sigma,
            target_sigma=target_sigma or source_sigma,
            info={"name": name, "predictor": predictor, "pairs": str(len(source["samples"]))},
            training=training,
            callback=advance,
        )
        report = attribute.report()
        if curve:
            report += f"\nmlp: loss {curve[-1]:.3f} times that of the closed form after {steps} steps (1 is the best there is)"
            if curve[-1] > 1.05:
                report += "; more steps would come nearer"
        return io.NodeOutput(attribute, plots.spectra(attribute), report)


class LatentSVDEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditLatentSVDEdit",
            display_name="Latent SVD Edit",
            category=CATEGORY,
            description="Slides a learned attribute on a noisy code, between two KSampler (Advanced) nodes: the first stops halfway with leftover noise, "
            "the second goes on from there with the same prompt.",
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The code to edit, at about the step where the attribute was learned."
                ),
                SVDAttributeType.Input("attribute", tooltip="From SVD Attribute Learn or Load SVD Attribute."),
                _strength(),
                *atoms_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    "edited",
                    display_name="latent",
                    tooltip="The edited code; everything else of the input latent is kept.",
                )
            ],
        )

    @classmethod
    def execute(cls, latent, attribute, strength, rank, band, mask=None) -> io.NodeOutput:
        samples = latent_of(latent, "latent")
        edited = apply_attribute(
            samples, attribute_of(attribute, "attribute"), strength, rank, band, latent_mask(mask, samples)
        )
        # Strength 0 hands over the input's own numbers, in its own dtype.
        return io.NodeOutput({**latent, "samples": edited if strength else latent["samples"].clone()})


class LatentSVDOperation(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditLatentSVDOperation",
            display_name="Latent SVD Operation",
            category=CATEGORY,
            description="The edit of Latent SVD Edit as a latent operation, for LatentApplyOperation and other nodes that take one.",
            inputs=[
                SVDAttributeType.Input(
                    "attribute", tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute."
                ),
                _strength(),
                *atoms_inputs(),
            ],
            outputs=[
                io.LatentOperation.Output(
                    "operation",
                    display_name="operation",
                    tooltip="Wire to LatentApplyOperation, between two KSampler (Advanced).",
                )
            ],
        )

    @classmethod
    def execute(cls, attribute, strength, rank, band, mask=None) -> io.NodeOutput:
        attribute = attribute_of(attribute, "attribute")

        def operation(latent, **kwargs):
            return apply_attribute(latent, attribute, strength, rank, band, latent_mask(mask, latent))

        return io.NodeOutput(operation)


NODES = [SVDAttributeLearn, LatentSVDEdit, LatentSVDOperation]
