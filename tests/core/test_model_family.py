"""Whether an attribute fits a model, by what its file says."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, Readout, combine_directions
from singular_edit.core.model_family import ModelFamily, check_family
from singular_edit.core.recipes.attributes import check_model, describe, load_attribute, with_info
from singular_edit.demo.attributes import readout_path, svd_path

SD15 = ModelFamily("SD15", "SD15", "eps", 1280, 8, 768)
SD20 = ModelFamily("SD20", "SD15", "eps", 1280, 8, 1024)
SDXL = ModelFamily("SDXL", "SDXL", "eps", 1280, 4, 2048)
FLUX = ModelFamily("Flux", "Flux", "flux", text_width=4096)


# Hypothesis makes its table of characters with the first text, which takes longer than it allows on a new machine.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        ModelFamily,
        st.text(),
        st.text(),
        st.text(),
        st.integers(0, 10**6),
        st.integers(0, 64),
        st.integers(0, 10**5),
    )
)
def test_a_family_comes_back_from_a_file(family):
    assert ModelFamily.from_info(family.info()) == family


@pytest.mark.parametrize(
    "damaged", [{}, {"model_class": "SD15", "place_size": "-3"}, {"model_class": "X", "place_size": "8.5"}]
)
def test_a_file_that_records_no_family_is_taken_with_a_note(damaged):
    (note,) = check_family("glasses", damaged, SDXL, bottleneck=True)
    assert "family not recorded" in note


def test_a_readout_does_not_fit_another_family():
    for here in (SD20, SDXL, FLUX):
        with pytest.raises(EditError, match=r"'glasses' was learned on SD 1.5 but this model is .*"):
            check_family("glasses", SD15.info(), here, bottleneck=True)


def test_a_latent_attribute_fits_every_model_of_its_latents():
    (note,) = check_family("hat", SD15.info(), SD20, bottleneck=False)
    assert "it may be weaker there" in note
    with pytest.raises(EditError, match="SDXL"):
        check_family("hat", SD15.info(), SDXL, bottleneck=False)


def test_a_fine_tuned_model_is_of_the_family_and_another_prediction_is_noted():
    assert check_family("hat", SD15.info(), SD15, bottleneck=True) == []
    v_model = dataclasses.replace(SD15, prediction="v_prediction")
    assert len(check_family("hat", SD15.info(), v_model, bottleneck=True)) == 1


def readout(channels: int, place_size: int, info: dict[str, str] | None = None) -> Readout:
    return Readout.fresh(
        channels, 4, place_size, 1.0, torch.tensor([10.0, 1.0]), generator=torch.Generator(), info=info or {}
    )


def test_an_old_readout_is_known_by_its_shape_alone():
    sd15 = readout(1280, 8, {"name": "glasses"})
    assert "family not recorded" in check_model(sd15, SD15)[0]
    with pytest.raises(EditError, match=r"reads 8 x 8 latent pixels off each place .* has 4 x 4"):
        check_model(sd15, SDXL)
    with pytest.raises(EditError, match="bottleneck of 1280 channels but this model has 640"):
        check_model(sd15, dataclasses.replace(SD15, bottleneck_channels=640))


def test_each_part_of_a_sum_is_checked():
    total = combine_directions([(1.0, readout(1280, 8)), (1.0, readout(1280, 8, {**SD20.info(), "name": "smile"}))])
    with pytest.raises(EditError, match=r"'smile' was learned on SD 2.x but this model is SD 1.5"):
        check_model(total, SD15)


@pytest.mark.parametrize("path", [readout_path("glasses"), svd_path("hat")], ids=["readout", "svd"])
def test_a_file_says_what_it_is(path):
    text = describe(load_attribute(path))
    for words in ("Demo Face Model", "'a face'", "with strength 1", "-1 to 1.4", "Licence: MIT"):
        assert words in text


def test_more_info_leaves_the_attribute_as_it_is():
    before = load_attribute(svd_path("hat"))
    after = with_info(before, {"creator": "somebody"})
    assert "Creator: somebody." in describe(after)
    assert before.info.get("creator") != "somebody"
    assert torch.equal(before.edit.s, after.edit.s)
