"""SVD Attribute Learn: an attribute from a pair of codes, or the mean of several. No MODEL is needed."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io

from ..backends.comfyui.latents import latent_of
from ..core.fitting import Training
from ..core.latent_svd.attribute import SVDAttribute
from ..core.latent_svd.avi import LossWeights
from ..core.latent_svd.learn import AttributeSettings, learn_attribute
from ..core.recipes import defaults
from . import plots
from .inputs import ADVANCED, SVDAttributeType, seed_input

DEFAULTS = AttributeSettings()
# The report of mlp asks for more training steps above this multiple of the closed form's loss.
NEAR_CLOSED_FORM = 1.05


def _weight_input(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=0.01, round=False, tooltip=tooltip)


def _sigma_input(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=10000.0, step=0.001, round=False, tooltip=tooltip)


class SVDAttributeLearn(io.ComfyNode):
    """An attribute from pairs of codes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditSVDAttributeLearn",
            display_name="SVD Attribute Learn",
            category=ADVANCED,
            description=(
                "Learns an attribute from a pair of noisy codes. "
                "The codes come from Latent Pair, or from two KSampler (Advanced) with the same seed, "
                "one with the source prompt and one with the target prompt, "
                "both stopping halfway with leftover noise. "
                "From a batch of pairs it learns their mean."
            ),
            inputs=[
                io.Latent.Input(
                    "source",
                    tooltip=(
                        "The code under the source prompt, from Latent Pair, "
                        "or from KSampler (Advanced) with end_at_step halfway "
                        "and return_with_leftover_noise enabled."
                    ),
                ),
                io.Latent.Input(
                    "target",
                    tooltip=(
                        "The code under the target prompt, from Latent Pair, "
                        "or from the same seed and initial noise, at the same step or a slightly later one."
                    ),
                ),
                _sigma_input("source_sigma", "Sigma of the source code, kept in the file. 0 means unknown."),
                _sigma_input("target_sigma", "Sigma of the target code. 0 means unknown, or equal to the source's."),
                io.Int.Input(
                    "rank",
                    default=DEFAULTS.rank,
                    min=1,
                    max=256,
                    tooltip=(
                        "How many singular atoms of each channel take part. "
                        "A few keep to the coarse layout; many bring details in too."
                    ),
                ),
                io.Combo.Input(
                    "predictor",
                    options=["closed_form", "mlp"],
                    default="closed_form",
                    tooltip=(
                        "How new singular values are found. "
                        "closed_form: the exact minimum of the loss, at once. "
                        "mlp: the paper's small network, trained on the loss and kept in the file."
                    ),
                ),
                _weight_input("target_weight", DEFAULTS.weights.target, "How strongly the attribute is let in."),
                _weight_input("source_weight", DEFAULTS.weights.source, "How strongly the source is kept."),
                _weight_input(
                    "target_spectrum_weight",
                    DEFAULTS.weights.target_spectrum,
                    "Keeps the target's singular values near their own, against saturation.",
                ),
                _weight_input(
                    "source_spectrum_weight",
                    DEFAULTS.weights.source_spectrum,
                    "Keeps the source's singular values near their own, for quality.",
                ),
                io.Int.Input(
                    "steps",
                    default=defaults.PREDICTOR_TRAINING.steps,
                    min=1,
                    max=100000,
                    tooltip="Training steps of mlp. closed_form has none.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=defaults.PREDICTOR_TRAINING.learning_rate,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=False,
                    tooltip="Learning rate of mlp. closed_form has none.",
                ),
                seed_input("seed", "Seed of mlp. closed_form draws nothing."),
                io.String.Input(
                    "name",
                    default="attribute",
                    tooltip="What the attribute is called in reports and in its file.",
                ),
                io.Float.Input(
                    "focus",
                    default=DEFAULTS.focus,
                    min=0.0,
                    max=100.0,
                    step=0.05,
                    round=False,
                    optional=True,
                    tooltip=(
                        "Leaves out places where the pair hardly differs, "
                        "such as a shade of the background or a drift of colours. "
                        "0 keeps every place; a high value keeps only places where much changes."
                    ),
                ),
            ],
            outputs=[
                SVDAttributeType.Output(
                    "attribute",
                    display_name="attribute",
                    tooltip="Wire to Latent SVD Edit or Save Attribute.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Spectra of source, target and edit, one line for each channel.",
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
        source: dict[str, Any],
        target: dict[str, Any],
        source_sigma: float,
        target_sigma: float,
        rank: int,
        predictor: str,
        target_weight: float,
        source_weight: float,
        target_spectrum_weight: float,
        source_spectrum_weight: float,
        steps: int,
        learning_rate: float,
        seed: int,
        name: str,
        focus: float = DEFAULTS.focus,
    ) -> io.NodeOutput:
        """Learn the attribute."""
        weights = LossWeights(target_weight, source_weight, target_spectrum_weight, source_spectrum_weight)
        training = Training(steps, learning_rate, seed=seed) if predictor == "mlp" else None
        bar = comfy.utils.ProgressBar(steps)
        losses: list[float] = []

        def advance(step: int, loss: float) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            losses.append(loss)
            bar.update(1)

        attribute = learn_attribute(
            latent_of(source, "source"),
            latent_of(target, "target"),
            AttributeSettings(rank, weights, focus, training=training),
            sigma=source_sigma,
            target_sigma=target_sigma or source_sigma,
            info={"name": name, "predictor": predictor, "pairs": str(len(source["samples"]))},
            callback=advance,
        )
        return io.NodeOutput(attribute, plots.spectra(attribute), _report(attribute, losses))


def _report(attribute: SVDAttribute, losses: list[float]) -> str:
    """Return the attribute's report, with a line on the training of mlp where there was one."""
    text = attribute.report()
    if losses:
        text += (
            f"\nmlp: loss {losses[-1]:.3f} times that of the closed form after {len(losses)} training steps "
            "(1 is the best there is)"
        )
        if losses[-1] > NEAR_CLOSED_FORM:
            text += "; more steps would come nearer"
    return text


NODES = [SVDAttributeLearn]
