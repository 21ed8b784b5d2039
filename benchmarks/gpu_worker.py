"""The process that uses the device for benchmarks.gpu: runs one section, says each thing as a line of JSON.

    python -m benchmarks.gpu_worker SECTION OPTIONS

OPTIONS is JSON: device, tiny, thin, paths, past ([[work, engine, reason], ...]), seconds.  The section "probe" says
what the device is, or why there is none.  What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from importlib import import_module
from typing import Any

import torch

SECTIONS = {  # where the function of that name is; imported when it is asked for, as some bring a model along
    "checks": "benchmarks.gpu_checks",
    "forward": "benchmarks.gpu_works",
    "training": "benchmarks.gpu_works",
    "assign": "benchmarks.gpu_works",
    "step": "benchmarks.gpu_step",
}


def probe(name: str) -> dict[str, str]:
    """The device, its driver, torch, its CUDA and the device's paths; or, as "missing", why there is none."""
    facts = {"device": name, "driver": "", "torch": torch.__version__, "cuda": "", "paths": "cpu"}
    if name == "cpu":
        return facts
    if torch.version.cuda is None:
        return {"missing": f"torch {torch.__version__} was built without CUDA"}
    if not torch.cuda.is_available():
        return {"missing": f"torch {torch.__version__} sees no CUDA device"}
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        driver = done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""
    except OSError:
        driver = ""
    paths = "mma,wgmma" if torch.cuda.get_device_capability() == (9, 0) else "mma"
    facts |= {"device": torch.cuda.get_device_name(), "driver": driver, "cuda": torch.version.cuda, "paths": paths}
    return facts


def ready(device: torch.device) -> None:
    """Make sure that it is the kernels that run: nothing else in their place, no product in fewer bits than asked."""
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cuda":
        reason = import_module("flmr.ops.cuda").why_not(device)
        if reason is not None:
            raise SystemExit(reason)
        warnings.filterwarnings("error", message="MaxSim on")  # else torch's own product would be timed as ours


def main() -> None:
    """Run the section that the command line names."""
    section, options = sys.argv[1], json.loads(sys.argv[2])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(value: dict[str, Any]) -> None:
        channel.write(json.dumps(value) + "\n")
        channel.flush()

    if section == "probe":
        tell(probe(options["device"]))
        return
    from benchmarks.gpu_run import Run

    device = torch.device(options["device"])
    ready(device)
    run = Run(
        device,
        tell,
        tiny=options["tiny"],
        thin=options["thin"],
        paths=tuple(options["paths"]),
        past={(work, engine): reason for work, engine, reason in options["past"]},
        until=time.monotonic() + options["seconds"],
    )
    getattr(import_module(SECTIONS[section]), section)(run)
    tell({"end": section})


if __name__ == "__main__":
    main()
