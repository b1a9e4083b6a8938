"""Pictures, and the pipeline that edits them, shared by the tests of the commands."""

from __future__ import annotations

import pytest
from helpers.folder_commands import apply, results


@pytest.fixture(scope="session")
def pipe():
    pytest.importorskip("diffusers")
    from singular_edit.demo import pipeline

    return pipeline.load_pipeline()


@pytest.fixture
def no_loading(pipe, monkeypatch):
    """The pipeline that these tests share, in place of one loaded anew."""
    from singular_edit.demo import pipeline

    monkeypatch.setattr(pipeline, "load_pipeline", lambda device, name: pipe)


@pytest.fixture(scope="session")
def face():
    from singular_edit.backends.pipeline.pictures import pil_pictures
    from singular_edit.demo.faces import render

    return pil_pictures(render(50_001, glasses=False))[0]


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of six pictures."""
    from singular_edit.backends.pipeline.pictures import pil_pictures
    from singular_edit.demo.faces import render

    folder = tmp_path_factory.mktemp("faces")
    for seed in range(6):
        pil_pictures(render(50_000 + seed))[0].save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def whole(faces, pipe, tmp_path_factory):
    """The results of one run."""
    from singular_edit import cli
    from singular_edit.demo import pipeline

    folder = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_pipeline", lambda device, name: pipe)
        assert cli.main(apply(faces, folder)) == 0
    return results(folder)
