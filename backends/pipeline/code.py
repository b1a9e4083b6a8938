"""An inverted picture, with all that its way back needs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.errors import EditError
from ...core.inversion.report import InversionReport
from ...core.inversion.trace import Trace
from ...core.model_family import ModelFamily
from ...core.samplers import Schedule
from ..conditioning import Conditioning


@dataclass(frozen=True, eq=False)
class Code:
    """One or several inverted pictures. Prompt, guidance and schedule travel along, so that they cannot disagree.

    It can be pickled, and saved with torch.save.

    Attributes:
        latents: The noise from which the pictures are drawn again, [B, C, h, w] in model space at schedule.sigmas[0].
        trace: What the inversion went through, which every edit follows; None for method fixed_point.
        report: What the inversion cost, and how exactly the pictures come back; ``report.text()`` says it.
        prompt: What the pictures show, encoded.
        negative: The encoded negative prompt.
        guidance: The guidance of the inversion and of every edit.
        schedule: The noise levels.
        family: What kind of model inverted them; None where that is not known.
    """

    latents: Tensor
    trace: Trace | None
    report: InversionReport
    prompt: Conditioning
    negative: Conditioning
    guidance: float
    schedule: Schedule
    family: ModelFamily | None = None

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.latents)

    @property
    def steps(self) -> int:
        """Sampling steps of the way back."""
        return len(self.schedule.sigmas) - 1

    def check_fits(self, here: ModelFamily) -> None:
        """Check that pictures were inverted by a model of this kind.

        Args:
            here: The family of the model that is to draw them.

        Raises:
            EditError: It was another kind of model.
        """
        made = self.family
        if made is None or (made.same_kind(here, bottleneck=True) and made.prediction == here.prediction):
            return
        raise EditError(
            f"code was inverted by {made.text()} but this pipeline is {here.text()}; "
            "what invert of this pipeline returns is accepted."
        )
