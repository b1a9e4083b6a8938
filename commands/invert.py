"""``singular-edit invert``: the noise of all pictures of a folder, and what the model draws from it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image
from safetensors.torch import save

from ..backends.pipeline.pictures import Sides, pictures_of
from ..core.errors import EditError
from ..core.inversion.report import MAX_DECIBELS
from ..core.recipes.inversion import INVERSION_METHODS, TRACED
from .folder import Job
from .reading import Picture
from .task import Made, Task, decibels
from .writing import encoded, ending_of

if TYPE_CHECKING:
    from ..backends.pipeline.attached import AttachedPipeline


@dataclass(frozen=True, kw_only=True)
class Invert(Task):
    """The inversion of pictures.

    Attributes:
        method: One of INVERSION_METHODS.
    """

    method: str = TRACED

    def check(self) -> None:
        """Check the settings; see Task."""
        super().check()
        if self.method not in INVERSION_METHODS:
            raise EditError(f"method is '{self.method}'; {', '.join(INVERSION_METHODS)} are accepted.")

    def results(self, picture: PurePosixPath, called: str) -> tuple[str, ...]:
        """Name the picture that is drawn again, and the file of its noise; see Task."""
        drawn = picture.with_name(called + ending_of(picture.name, self.format))
        return drawn.as_posix(), f"{drawn.as_posix()}.safetensors"

    def settings(self) -> dict[str, str]:
        """Return what the results depend on; see Task."""
        return super().settings() | dict(command="invert", method=self.method)

    def maker(self, edit: AttachedPipeline) -> Callable[[Job, Picture], Made]:
        """Return what inverts a picture; see Task."""

        def make(job: Job, picture: Picture) -> Made:
            seed = picture.seed(self.seed)
            code = edit.invert(
                picture.image,
                self.prompt or "",
                steps=self.steps,
                guidance=self.guidance,
                method=self.method,
                size=self.size,
                seed=seed,
            )
            round_trip = decibels(code.report, job.name)
            drawn = edit(code)[0]
            noise = dict(
                latents=code.latents.cpu().contiguous(), sigmas=code.schedule.sigmas.float().cpu().contiguous()
            )
            facts = dict(
                size=list(drawn.size),
                seed=seed,
                round_trip_db=round_trip,
                picture_db=_decibels_between(picture.image, drawn),
                report=code.report.text(),
            )
            return Made([encoded(drawn, picture, PurePosixPath(job.results[0]).suffix), save(noise)], facts)

        return make


def _decibels_between(picture: Image.Image, drawn: Image.Image) -> float:
    """Return how alike two pictures are, with what the VAE loses; the first one is fitted to the second."""
    fitted = [pictures_of(one, Sides(1, 1), drawn.size) for one in (picture, drawn)]
    error = float((fitted[0] - fitted[1]).square().mean().log10()) * -10
    return round(min(error, MAX_DECIBELS), 1)
