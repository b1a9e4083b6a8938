"""Progress of a long node: a bar, what is being done, the time left, and cancelling."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
from comfy_execution.utils import get_executing_context
from torch import Tensor

# Seconds between two texts, so that the page is not flooded.
TEXT_INTERVAL = 1.0
# What warn said since the last Progress began: a progress says other things over it, and repeats it at its end.
_warning: ContextVar[str] = ContextVar("warning", default="")


class Progress:
    """The progress of the node that is running.

    Args:
        title: What is being done, for people: "Learning glasses".
        total: How many ticks there will be.

    Attributes:
        done: How many ticks there were.
        total: How many ticks there will be.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = max(total, 1)
        self.done = 0
        self.bar = comfy.utils.ProgressBar(self.total)
        self.began = time.monotonic()
        self.shown = -TEXT_INTERVAL
        _warning.set("")

    def tick(self, preview: Any = None) -> None:
        """Count one step.

        Args:
            preview: A picture for the node, ("JPEG", a Pillow picture, longest side); None shows none.

        Raises:
            InterruptProcessingException: The user cancelled.
        """
        if comfy.model_management.processing_interrupted():
            self.say(f"{self.title}: stopped")
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.done = min(self.done + 1, self.total)
        self.bar.update_absolute(self.done, self.total, preview)
        now = time.monotonic() - self.began
        if now - self.shown >= TEXT_INTERVAL:
            self.shown = now
            left = now / self.done * (self.total - self.done)
            self.say(f"{self.title}: {self.done / self.total:.0%}, {duration(left)} left")

    def expect(self, ticks: int) -> None:
        """Make room for so many more ticks, where what is to be done turned out to be more than was counted."""
        self.total = max(self.total, self.done + ticks)

    def finish(self, text: str) -> None:
        """Fill the bar, because work may end before what was counted, and leave a text and a warning on the node."""
        self.done = self.total
        self.bar.update_absolute(self.total, self.total)
        warning = _warning.get()
        self.say(f"{text.rstrip('.')}. {warning}" if warning else text)

    @staticmethod
    def say(text: str) -> None:
        """Show a text on the running node, where there is a page to show it."""
        context = get_executing_context()
        # A running server has imported this module; importing it elsewhere would start a part of one.
        server = sys.modules.get("server")
        instance = getattr(getattr(server, "PromptServer", None), "instance", None)
        if context is not None and instance is not None:
            instance.send_progress_text(text, context.node_id)


def warn(text: str) -> None:
    """Say in the log and on the running node what the user should know."""
    logging.warning("Singular Edit: %s", text)
    _warning.set(text)
    Progress.say(text)


def previewer(model: Any) -> Callable[[Tensor], Any]:
    """Return what draws a prediction for Progress.tick, by the preview method that the user chose.

    Args:
        model: A MODEL.

    Returns:
        (prediction in model space) -> ("JPEG", a Pillow picture, longest side); None where the user wants no previews.
    """
    own = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    return lambda denoised: own and own.decode_latent_to_preview_image("JPEG", denoised)


def duration(seconds: float) -> str:
    """Return a time in words: "40 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
