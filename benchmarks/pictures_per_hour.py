"""Time the parts of ``singular-edit apply``, and what they add up to: ``python benchmarks/pictures_per_hour.py``.

    seconds a picture = read + encode + (2 + S) N call + S (decode + write)

N steps, S strengths; the inversion and its measurement are N calls of the network each, an edit N more. Each part is
timed by itself, and what they add up to is set against whole pictures through ``apply``. Sizes are those of the picture
that is drawn, its longest side in pixels. Files are read as JPEG of 12 megapixels and written as PNG of that size.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import singular_edit
import torch
from singular_edit.backends.pipeline.pictures import pictures_of, pil_pictures
from singular_edit.backends.pipeline.recognise import model_of
from singular_edit.commands.apply import Apply, WeightedFile
from singular_edit.commands.folder import Job
from singular_edit.commands.models import ModelChoice
from singular_edit.commands.reading import read_picture
from singular_edit.commands.writing import encoded
from singular_edit.core.recipes.defaults import EDIT_GUIDANCE, STEPS
from singular_edit.demo.faces import render

LARGE = (4000, 3000)
PROMPT = "a face"


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of something, after a call that is not timed."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Print the parts and their sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unet", help="as for singular-edit apply")
    parser.add_argument("--attribute", default="hat", help="an attribute of that model")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--strengths", type=int, nargs="+", default=[1, 3], help="how many")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    choice = ModelChoice(args.model)
    pipe = choice.open()
    model = model_of(pipe)
    print(f"{args.model} on {model.device}, {torch.get_num_threads()} threads, {args.steps} steps")
    print(f"{'size':>6s}{'read':>8s}{'encode':>8s}{'call':>8s}{'decode':>8s}{'write':>8s}   ms")
    choice = ModelChoice(args.model)
    with tempfile.TemporaryDirectory() as folder, singular_edit.attach(pipe) as edit:
        path = Path(folder) / "large.jpg"
        face = pil_pictures(render(50_001))[0]
        face.resize(LARGE).save(path, quality=90)
        read = seconds(lambda: read_picture(path), args.repeats)
        picture = read_picture(path)
        rows = []
        for size in args.sizes:
            pixels = pictures_of(picture.image, model.sides, size)
            latents = model.encode(pixels)
            prompt, negative = model.encode_prompt(PROMPT), model.encode_prompt("")
            denoise = model.denoiser(prompt, negative, EDIT_GUIDANCE)
            sigma = model.schedule(args.steps).sigmas[args.steps // 2]
            drawn = pil_pictures(pixels)[0]
            with torch.no_grad():
                parts = [
                    read + seconds(lambda size=size: pictures_of(picture.image, model.sides, size), args.repeats),
                    seconds(lambda pixels=pixels: model.encode(pixels), args.repeats),
                    seconds(lambda d=denoise, x=latents, s=sigma: d(x, s), 5 * args.repeats),
                    seconds(lambda x=latents: model.decode(x), args.repeats),
                    seconds(lambda drawn=drawn: encoded(drawn, picture, ".png"), args.repeats),
                ]
            print(f"{size:6d}" + "".join(f"{1000 * part:8.1f}" for part in parts), flush=True)
            rows += [(size, count, parts) for count in args.strengths]
        print(f"\n{'size':>6s}{'strengths':>11s}{'adds up to':>12s}{'measured':>10s}   s a picture   pictures an hour")
        for size, count, (reading, encode, call, decode, write) in rows:
            sum_of_parts = reading + encode + (2 + count) * args.steps * call + count * (decode + write)
            task = Apply(
                source=path,
                target=Path(folder),
                model=choice,
                attributes=(WeightedFile.of(args.attribute),),
                strengths=tuple(1.0 + i / 10 for i in range(count)),
                prompt=PROMPT,
                steps=args.steps,
                size=size,
                format="png",
            )
            measured = seconds(whole_picture(task, edit, path), max(1, args.repeats // 2))
            hour = 3600 / measured
            print(f"{size:6d}{count:11d}{sum_of_parts:12.2f}{measured:10.2f}{hour:32.0f}", flush=True)


def whole_picture(task: Apply, edit: object, path: Path) -> Callable[[], object]:
    """Return what does a task to a picture: reads, inverts, edits and encodes it."""
    make = task.maker(edit)  # type: ignore[arg-type]
    job = Job(path.name, tuple(f"{i}.png" for i in range(len(task.strengths))))
    return lambda: make(job, read_picture(path))


if __name__ == "__main__":
    main()
