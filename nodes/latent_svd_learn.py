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
from ..core.latent_svd.learn import RANK_SHARE, AttributeSettings, learn_attribute
from ..core.recipes import defaults
from . import plots
from .inputs import ADVANCED, SVDAttributeType, seed_input, with_advanced, with_search_words

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
        schema = io.Schema(
            node_id="SingularEditSVDAttributeLearn",
            display_name="SVD Attribute Learn",
            category=ADVANCED,
            description=(
                "Learns an attribute from two half-finished pictures, one without it and one with it (Latent SVD). "
                "They come from Latent Pair, or from two KSampler (Advanced) with one seed and two prompts, "
                "both stopping halfway with leftover noise. From a batch of pairs it learns their mean. "
                "Learn Attribute at method latent svd does all of this by itself."
            ),
            inputs=[
                io.Latent.Input(
                    "source",
                    tooltip=(
                        "The half-finished picture without the attribute (the source code), from Latent Pair, "
                        "or from KSampler (Advanced) with end_at_step halfway "
                        "and return_with_leftover_noise enabled."
                    ),
                ),
                io.Latent.Input(
                    "target",
                    tooltip=(
                        "The half-finished picture with the attribute (the target code), from Latent Pair, "
                        "or from the same seed, at the same step or a slightly later one."
                    ),
                ),
                _sigma_input(
                    "source_sigma",
                    "Noise level of source, kept in the file; wire sigma of Latent Pair. 0 means unknown.",
                ),
                _sigma_input("target_sigma", "Noise level of target. 0 means that of source."),
                io.Int.Input(
                    "rank",
                    default=DEFAULTS.rank,
                    min=0,
                    max=256,
                    tooltip=(
                        "How detailed the attribute is: a few patterns keep to the coarse layout, "
                        "many bring details in too (singular atoms, per channel). "
                        f"0 takes {RANK_SHARE:.0%} of those that a latent of this size has."
                    ),
                ),
                io.Combo.Input(
                    "predictor",
                    options=["closed_form", "mlp"],
                    default="closed_form",
                    tooltip=(
                        "Leave it at closed_form: exact and at once. "
                        "mlp trains the paper's small network for the same, which takes longer."
                    ),
                ),
                _weight_input(
                    "target_weight", DEFAULTS.weights.target, "How strongly the picture with the attribute counts."
                ),
                _weight_input(
                    "source_weight",
                    DEFAULTS.weights.source,
                    "How strongly the picture without it counts. More makes the attribute weaker.",
                ),
                _weight_input(
                    "target_spectrum_weight",
                    DEFAULTS.weights.target_spectrum,
                    "For tuning: holds contrasts near the target's own (its singular values), against garish colours.",
                ),
                _weight_input(
                    "source_spectrum_weight",
                    DEFAULTS.weights.source_spectrum,
                    "For tuning: holds contrasts near the source's own (its singular values).",
                ),
                io.Int.Input(
                    "steps",
                    default=defaults.PREDICTOR_TRAINING.steps,
                    min=1,
                    max=100000,
                    tooltip="Training steps of mlp. closed_form does not read it.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=defaults.PREDICTOR_TRAINING.learning_rate,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=False,
                    tooltip="Learning rate of mlp. closed_form does not read it.",
                ),
                seed_input("seed", "Seed of mlp. closed_form does not read it."),
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
                        "Keeps the attribute to places where the pair really differs, "
                        "and leaves out a shade of the background or a drift of colours. "
                        "0 keeps every place; a high value keeps only those where much changes."
                    ),
                ),
            ],
            outputs=[
                SVDAttributeType.Output(
                    "attribute",
                    display_name="attribute",
                    tooltip="Wire to Edit Picture, Apply Attribute, Latent SVD Edit or Save Attribute.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip=(
                        "How strong each pattern is in source, target and edit (spectra), one line for each channel."
                    ),
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="How large the edit is, and how much of it a few patterns hold.",
                ),
            ],
        )
        return with_search_words(
            with_advanced(
                schema,
                "target_weight",
                "source_weight",
                "target_spectrum_weight",
                "source_spectrum_weight",
                "steps",
                "learning_rate",
                "seed",
                "focus",
            ),
            "latent svd",
            "concept slider",
            "singular value decomposition",
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
