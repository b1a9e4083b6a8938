"""Edit Picture and Strength Sheet with on_original: the change alone, on the picture at its own size."""

import pytest
import torch
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.faces import ATTRIBUTES

pytest.importorskip("diffusers")


def test_the_change_alone_comes_onto_the_picture_at_its_own_size(graph, demo, monkeypatch):
    face = graph.run("DemoFace", seed=50001, glasses="off")[0]
    glasses = load_attribute(readout_path("glasses"))
    wide = torch.nn.functional.interpolate(face.movedim(-1, 1), size=(384, 480), mode="bicubic").movedim(1, -1)
    wide = wide.clamp(0, 1)
    inputs = dict(model=graph.model, clip=graph.clip, vae=graph.vae, describe="a face", steps=12)
    picture = graph.run("PreparePicture", image=wide, **inputs)[0]
    options = {"picture": picture, "attribute": glasses, "on_original": True}
    after, before = graph.run("EditPicture", strength=1.0, **options)
    # The model draws the middle; the picture keeps its ends.
    assert torch.equal(before, wide)
    assert torch.equal(graph.run("EditPicture", strength=0.0, **options)[0], before)
    seen = [
        demo.judged(torch.nn.functional.avg_pool2d(one[:, :, 48:-48].movedim(-1, 1), 6))[0, ATTRIBUTES.index("glasses")]
        for one in (before, after)
    ]
    assert seen == [False, True]
    changed = (after - before).abs().amax((0, 3))
    assert changed.max() > 0.3
    drawn = graph.run("EditPicture", strength=1.0, **{**options, "on_original": False})[0].movedim(-1, 1)
    drawn = torch.nn.functional.interpolate(drawn, size=(384, 384), mode="bicubic").movedim(1, -1)
    middle = (before[:, -64:, 48:-48], after[:, -64:, 48:-48])
    assert (middle[1] - middle[0]).abs().mean() < 0.4 * (drawn[:, -64:] - middle[0]).abs().mean()
    # Of a mask, which is as large as the picture was: two of the latent's 16 places are 48 pixels.
    mask = torch.zeros(3, 384, 480)
    mask[..., :192, :] = 1
    masked = graph.run("EditPicture", strength=1.0, mask=mask, **options)[0]
    assert torch.equal(masked[:, 240:], before[:, 240:])
    assert (masked - before).abs().max() > 0.3
    from singular_edit.backends.comfyui.progress import Progress

    said = []
    monkeypatch.setattr(Progress, "say", staticmethod(said.append))
    empty = graph.run("EditPicture", strength=1.0, mask=torch.zeros(1, 64, 64), **options)[0]
    assert torch.equal(empty, before)
    assert said[-1].endswith("strength 1: before and after; the mask is empty, so that nothing changes")
    _, sheet = graph.run("StrengthSheet", strengths="0, 1", **options)
    assert torch.equal(sheet, torch.cat([before, after]))
