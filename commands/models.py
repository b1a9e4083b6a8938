"""The pipeline that --model names: an embedded model, a folder of diffusers, or a checkpoint in one file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..core.errors import EditError, plain_text
from ..core.files import read_kind
from ..demo.architectures import ARCHITECTURES, UNET

EMBEDDED_PRECISION = "float32"
PRECISIONS = ("float32", "float16", "bfloat16")
INDEX = "model_index.json"
# What loading raises for files that are damaged, missing or of another kind.
NOT_LOADED = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class ModelChoice:
    """A model, and where and how it is computed.

    Attributes:
        name: An embedded model, a folder of diffusers, or a checkpoint that ends in .safetensors.
        config: For a checkpoint: a folder of diffusers of the same family, whose weights are not read.
        device: torch's name of a device; None takes this process's GPU where there is one.
        precision: One of PRECISIONS; None takes float32 on a CPU, and on a GPU float16 for U-Nets and bfloat16 for
            transformers. Embedded models are always in EMBEDDED_PRECISION.
    """

    name: str = UNET.name
    config: Path | None = None
    device: str | None = None
    precision: str | None = None

    @property
    def is_embedded(self) -> bool:
        """Whether it is an embedded model."""
        return self.name in ARCHITECTURES

    def check(self) -> None:
        """Check the choice; of a checkpoint without --config, the file is read to know its family.

        Raises:
            EditError: There is no such model, device or precision, or they do not go together.
        """
        if not self.is_embedded and _is_attribute(Path(self.name)):
            raise EditError(
                f"model is '{plain_text(self.name)}', which is the file of an attribute; apply takes it before IN and "
                "OUT, and --model the model that it was learned with."
            )
        if self.config is not None and (self.is_embedded or Path(self.name).is_dir()):
            raise EditError(
                f"config is '{plain_text(self.config)}', but model '{plain_text(self.name)}' has its own; only a "
                ".safetensors checkpoint takes one."
            )
        if not self.is_embedded and not _index_of(self).exists():
            raise EditError(
                f"model is '{plain_text(self.name)}', where there is no {INDEX}; {', '.join(ARCHITECTURES)}, a folder "
                "that diffusers' save_pretrained wrote, and a .safetensors checkpoint are accepted."
            )
        try:
            # Some devices hold tensors and cannot compute with them.
            torch.zeros(1, device=self.device).add(1).item()
        except (RuntimeError, AssertionError, ImportError):
            raise EditError(
                f"device is '{plain_text(self.device)}'; a device of torch on this machine, such as cpu or cuda:0, is "
                "accepted."
            ) from None
        if self.precision not in (None, *PRECISIONS):
            raise EditError(f"precision is '{self.precision}'; {', '.join(PRECISIONS)} are accepted.")
        if self.is_embedded and self.precision not in (None, EMBEDDED_PRECISION):
            raise EditError(
                f"precision is '{self.precision}', but the embedded model {self.name} is computed in "
                f"{EMBEDDED_PRECISION} alone; leave it out, or name another --model."
            )

    def open(self) -> Any:
        """Load the pipeline.

        Raises:
            EditError: It cannot be loaded.
        """
        device = self._device()
        if self.is_embedded:
            from ..demo.pipeline import load_pipeline

            pipe = load_pipeline(device, self.name)
        else:
            pipe = self._loaded(json.loads(_index_of(self).read_text())).to(device)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _device(self) -> str:
        if self.device is not None:
            return self.device
        if torch.cuda.is_available():
            # torchrun, accelerate and SLURM say which of this machine's GPUs is for this process.
            local = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0"
            return f"cuda:{int(local) % torch.cuda.device_count()}" if local.isdecimal() else "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def _loaded(self, index: dict[str, Any]) -> Any:
        """Load a pipeline from files of this machine.

        Args:
            index: What says of which parts it is made.
        """
        import diffusers

        precision = self.precision or ("float32" if self._device() == "cpu" else _half_precision(index))
        asked: dict[str, Any] = dict(torch_dtype=getattr(torch, precision), local_files_only=True)
        if "safety_checker" in index:
            asked |= dict(safety_checker=None)
        try:
            if Path(self.name).is_dir():
                return diffusers.DiffusionPipeline.from_pretrained(self.name, **asked)
            kind = getattr(diffusers, str(index["_class_name"]))
            return kind.from_single_file(self.name, config=str(_index_of(self).parent), **asked)
        except NOT_LOADED as error:
            raise EditError(f"model '{plain_text(self.name)}' cannot be loaded ({plain_text(error, 300)}).") from error


def _is_attribute(path: Path) -> bool:
    """Return whether a file says of itself that it is one of Singular Edit's."""
    try:
        read_kind(path)
    except EditError:
        return False
    return True


def _half_precision(index: dict[str, Any]) -> str:
    """Return the precision that a pipeline's family was published in: text encoders of transformers overflow others."""
    return "bfloat16" if "transformer" in index else "float16"


def _index_of(choice: ModelChoice) -> Path:
    """Return the file that says of which parts a pipeline is made.

    Raises:
        EditError: A checkpoint's own is not on this machine.
    """
    path = Path(choice.name)
    if path.suffix != ".safetensors" or not path.is_file():
        return path / INDEX
    if choice.config is not None:
        if not (choice.config / INDEX).exists():
            raise EditError(
                f"config is '{plain_text(choice.config)}', where there is no {INDEX}; a folder of diffusers is "
                "accepted."
            )
        return choice.config / INDEX
    return _cached_config(path) / INDEX


@cache
def _cached_config(path: Path) -> Path:
    """Return the configuration of a checkpoint's family, out of what was downloaded at some time.

    Raises:
        EditError: It was not.
    """
    from diffusers.loaders.single_file_utils import fetch_diffusers_config, load_single_file_checkpoint
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        family = fetch_diffusers_config(load_single_file_checkpoint(str(path)))["pretrained_model_name_or_path"]
    except NOT_LOADED as error:
        raise EditError(
            f"model '{plain_text(path)}' is no checkpoint that diffusers knows ({plain_text(error)})."
        ) from error
    try:
        return Path(snapshot_download(family, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError):
        raise EditError(
            f"model '{plain_text(path)}' is a checkpoint of the family of {family}, whose configuration is not on this "
            "machine; give --config a folder of diffusers of that family, without weights."
        ) from None
