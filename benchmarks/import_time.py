"""Time what the pack adds to ComfyUI's start: ``python benchmarks/import_time.py``.

A process imports what ComfyUI imports anyway, and then the pack with all of its nodes, as ComfyUI's start does. Printed
are the milliseconds of the pack, the median of several processes, and the heavy packages that it brought in. Needs a
ComfyUI and its requirements. A recorded output is in benchmarks/results/import_time.txt.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from singular_edit.backends.find_comfyui import find_comfyui

PACK = Path(__file__).parents[1]
HEAVY = ("diffusers", "matplotlib", "transformers", "kornia", "torchvision", "scipy")
# The names of ComfyUI that any node pack finds imported, and then what ComfyUI does with a pack's folder.
START = """
import sys, time, asyncio, importlib.util
sys.path.insert(0, {comfyui!r})
import comfy.cli_args
comfy.cli_args.args.cpu = True
import folder_paths, nodes, comfy_api.latest, comfy_execution.graph_utils
from comfy_extras import nodes_custom_sampler
before = set(sys.modules)
began = time.perf_counter()
spec = importlib.util.spec_from_file_location("pack", {init!r}, submodule_search_locations=[{folder!r}])
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
async def load():
    return await (await pack.comfy_entrypoint()).get_node_list()
count = len([node.GET_SCHEMA() for node in asyncio.run(load())])
took = time.perf_counter() - began
heavy = sorted(name for name in {heavy!r} if name in set(sys.modules) - before)
print(took * 1000, count, ",".join(heavy) or "none")
"""


def main() -> None:
    """Print the time and the heavy packages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI found: set COMFYUI_PATH")
    code = START.format(comfyui=str(comfyui), init=str(PACK / "__init__.py"), folder=str(PACK), heavy=HEAVY)
    times = []
    for _ in range(args.repeats):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        milliseconds, count, heavy = done.stdout.split()[-3:]
        times.append(float(milliseconds))
    shown = ", ".join(f"{value:.0f}" for value in times)
    print(f"the pack adds {statistics.median(times):.0f} ms to ComfyUI's start ({shown}) with {count} nodes")
    print(f"heavy packages it imports: {heavy}")


if __name__ == "__main__":
    main()
