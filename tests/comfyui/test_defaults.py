"""Every default stands once: what the nodes and the command line offer is what the recipes ship."""

from types import SimpleNamespace

import pytest
from singular_edit import cli
from singular_edit.core import QUALITIES
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import (
    AUTOMATIC,
    LEARN_METHODS,
    READOUT,
    EditSettings,
    LearnSettings,
    PairSettings,
)
from singular_edit.core.recipes.start import AUTOMATIC_START
from singular_edit.demo.evaluation.learned_files import LearnedFiles
from singular_edit.demo.evaluation.run import EvaluationSettings
from singular_edit.demo.networks import BOTTLENECK

LEARN, EDIT, PAIR, ATTRIBUTE = LearnSettings.for_method(READOUT), EditSettings(), PairSettings(), AttributeSettings()
WIDGETS = {
    "HDirectionLearn": {
        "method": READOUT,
        "samples": LEARN.samples,
        "steps": LEARN.training.steps,
        "learning_rate": LEARN.training.learning_rate,
        "cfg": LEARN.cfg,
        "start_percent": LEARN.start_percent,
        "end_percent": LEARN.end_percent,
    },
    "AsyrpSampler": {
        "strength": defaults.THERE,
        "edit_percent": EDIT.edit_percent,
        "boost_percent": EDIT.boost_percent,
        "eta": EDIT.eta,
        "symmetric": EDIT.symmetric,
    },
    "HDirectionAverage": {"edit_percent": EDIT.edit_percent},
    "LatentPair": {
        "at_step": PAIR.step,
        "first_parting": PAIR.branch_steps[0],
        "last_parting": PAIR.branch_steps[-1],
        "cfg": defaults.LEARN_GUIDANCE,
        "target_cfg": defaults.LEARN_GUIDANCE,
    },
    "SVDAttributeLearn": {
        "rank": ATTRIBUTE.rank,
        "target_weight": ATTRIBUTE.weights.target,
        "source_weight": ATTRIBUTE.weights.source,
        "target_spectrum_weight": ATTRIBUTE.weights.target_spectrum,
        "source_spectrum_weight": ATTRIBUTE.weights.source_spectrum,
        "focus": ATTRIBUTE.focus,
    },
    "LatentSVDEdit": {"strength": defaults.THERE},
    "LatentSVDOperation": {"strength": defaults.THERE},
    "SVDSampler": {"strength": defaults.THERE, "start_percent": defaults.T_X_STEP / defaults.STEPS},
}


@pytest.mark.parametrize("node", WIDGETS)
def test_a_nodes_widgets_offer_the_recipes_defaults(pack_nodes, node):
    schema = pack_nodes[node].define_schema()
    offered = {widget.id: getattr(widget, "default", None) for widget in schema.inputs}
    assert {name: offered[name] for name in WIDGETS[node]} == WIDGETS[node]


def test_the_learning_node_chooses_its_noises_itself(pack_nodes):
    samples = next(item for item in pack_nodes["HDirectionLearn"].define_schema().inputs if item.id == "samples")
    assert samples.default == samples.min == AUTOMATIC


def test_choices_are_those_of_the_core(pack_nodes):
    def options(node: str, widget: str) -> list[str]:
        return next(item.options for item in pack_nodes[node].define_schema().inputs if item.id == widget)

    assert options("HDirectionLearn", "method") == list(LEARN_METHODS)
    assert options("LatentInvert", "quality") == [*QUALITIES, "custom"]


def test_methods_that_move_h_share_one_set_and_readouts_differ_in_what_they_must():
    combined = LearnSettings.for_method("combined")
    for method in LEARN_METHODS:
        other = LearnSettings.for_method(method)
        assert (other.samples, other.start_percent, other.end_percent) == (AUTOMATIC, AUTOMATIC_START, 0.8)
        if method != READOUT:
            assert other.training == combined.training


def test_the_command_line_offers_them_too():
    args = cli._parser().parse_args(["evaluate"])
    shipped = EvaluationSettings()
    assert (args.count, args.share, args.seed) == (shipped.count, shipped.share, shipped.seed)
    learned = LearnedFiles(SimpleNamespace(bottleneck=BOTTLENECK), None, shipped.share, shipped.seed)
    for method in ("combined", READOUT):
        assert learned.learning(method) == LearnSettings.for_method(method).for_bottleneck(BOTTLENECK)
