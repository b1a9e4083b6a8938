"""What is to be learned with a pipeline, and the settings that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ...core.errors import EditError, plain_text
from ...core.recipes.attributes import SVD_METHOD, check_learns_from_pictures
from ...core.recipes.defaults import STEPS
from ...core.recipes.settings import CLIP, EFFORTS, LEARN_METHODS, READOUT, LearnSettings, PairSettings
from ..conditioning import Conditioning
from .arguments import check_steps, check_texts, found
from .model import PipelineModel, Prompt
from .pictures import Pictures, Size

# Prompts that branch, and what is learned behind it, need some.
LEAST_STEPS = 3
# Short names of methods.
ALIASES = {"svd": SVD_METHOD}
METHODS = (*(method for method in LEARN_METHODS if method != CLIP), *ALIASES)


@dataclass(frozen=True)
class Lesson:
    """What is to be learned, and how.

    Attributes:
        source: The prompt without the attribute.
        target: The prompt with it.
        method: One of METHODS; None chooses readout, and latent svd for pictures.
        effort: One of EFFORTS.
        steps: Sampling steps to learn at.
        size: Size of the pictures that are drawn while learning, or that those given are brought to.
        seed: Seed of everything that is drawn; None leaves that of the settings in force, and is 0 where there is none.
        settings: Settings of the method in full, in place of the shipped ones and effort.
        pictures: Pictures that show the source prompt, to learn from in place of noise. None learns from noise.
    """

    source: Prompt
    target: Prompt
    method: str | None = None
    effort: str = "good"
    steps: int = STEPS
    size: Size = None
    seed: int | None = None
    settings: LearnSettings | PairSettings | None = None
    pictures: Pictures | None = None

    def settings_for(self, model: PipelineModel) -> LearnSettings | PairSettings:
        """Return the settings in full.

        Raises:
            EditError: The method or the effort is unknown, the settings are none, the prompts are one, the target is
                blank, there are too few steps, or the method does not learn from pictures.
        """
        self._check_prompts()
        if not isinstance(self.effort, str) or self.effort not in EFFORTS:
            raise EditError(f"effort is '{plain_text(self.effort)}'; {', '.join(EFFORTS)} are accepted.")
        check_steps(self.steps, LEAST_STEPS)
        if isinstance(self.settings, PairSettings):
            return self.settings
        if isinstance(self.settings, LearnSettings):
            if self.pictures is not None:
                check_learns_from_pictures(self.settings.method)
            return self._seeded(self.settings)
        if self.settings is not None:
            raise EditError(
                f"settings is a {type(self.settings).__name__}; a LearnSettings or a PairSettings is accepted."
            )
        method = self.method or (READOUT if self.pictures is None else SVD_METHOD)
        method = ALIASES.get(method, method) if isinstance(method, str) else plain_text(method)
        if method not in (*METHODS, SVD_METHOD):
            raise EditError(f"method is '{plain_text(method)}'; {', '.join(METHODS)} are accepted for a pipeline.")
        if self.pictures is not None:
            check_learns_from_pictures(method)
        if method == SVD_METHOD:
            return PairSettings.for_schedule(model.schedule(self.steps), EFFORTS[self.effort])
        return self._seeded(replace(LearnSettings.for_method(method), effort=EFFORTS[self.effort]))

    def _seeded(self, settings: LearnSettings) -> LearnSettings:
        """Return settings with the seed that was asked for, where one was."""
        if self.seed is None:
            return settings
        return replace(settings, training=replace(settings.training, seed=self.seed))

    def _check_prompts(self) -> None:
        """Raise an EditError for texts between which there is nothing to learn."""
        prompts = {"source": self.source, "target": self.target}
        texts = {
            name: [text.split() for text in check_texts(prompt, name)]
            for name, prompt in prompts.items()
            if not isinstance(prompt, Tensor | Conditioning)
        }
        if "target" in texts and not any(texts["target"]):
            raise EditError(
                f"target is {found(self.target)}; a text that says what pictures show with the attribute is accepted."
            )
        if len(texts) == 2 and texts["source"] == texts["target"]:
            raise EditError(
                f"source and target are both '{' '.join(texts['source'][0])}'; "
                "two prompts that differ in the attribute are accepted."
            )
