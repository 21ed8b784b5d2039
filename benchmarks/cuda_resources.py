"""What the compiler gives each CUDA kernel: registers, stack and spilled bytes, as rows of a Markdown table.

    python -m benchmarks.cuda_resources [--nvcc nvcc]

Needs the CUDA toolkit and no device.  Shared memory is asked for at the launch: its sizes are in csrc/cuda/stream.h.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent / "csrc" / "cuda"
ARCHITECTURES = ("sm_80", "sm_90")
OF_ONE = {"maxsim_wgmma.cu": ("sm_90a",)}  # as csrc/cuda/CMakeLists.txt has it
SPELLING = {"BFloat": "bfloat16", "Half": "float16", "Float8": "float8", "signed char": "int8"}
REPORT = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stored>\d+) bytes spill stores, "
    r"(?P<loaded>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def reports(nvcc: str, source: Path, architecture: str) -> list[tuple[str, int, int, int, int]]:
    """Name, registers, stack, bytes of spill stores and loads of each kernel of a source."""
    number = architecture.removeprefix("sm_")
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++17", "-O3", f"-gencode=arch=compute_{number},code={architecture}", "-Xptxas=-v"]
        command += ["-cubin", "-o", str(Path(folder) / "kernels.cubin"), str(source)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = parsed(done.stderr)
    if not found and "__global__" in source.read_text(encoding="utf-8"):
        raise SystemExit(f"{nvcc} reported no kernel of {source.name}: its report has another form")
    return found


def parsed(report: str) -> list[tuple[str, int, int, int, int]]:
    """The same from what ptxas -v prints."""
    found = [match.groupdict() for match in REPORT.finditer(report)]
    return [
        (each["name"], int(each["registers"]), int(each["stack"]), int(each["stored"]), int(each["loaded"]))
        for each in found
    ]


def plain(mangled: str) -> str:
    """maxsim_mma<float16, 128, true> of a mangled name."""
    done = subprocess.run(["c++filt", mangled], check=True, capture_output=True, text=True)
    name = done.stdout.strip().replace("(anonymous namespace)::", "").replace("(bool)0", "false")
    name = re.sub(r"\(int\)|^void ", "", name.replace("(bool)1", "true"))
    name = name.partition("(")[0]
    for theirs, ours in SPELLING.items():
        name = name.replace(theirs, ours)
    return name


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvcc", default="nvcc")
    nvcc = parser.parse_args().nvcc
    print("| kernel | for | registers | stack | spilled: stored, loaded |\n|---|---|---|---|---|")
    for source in sorted(KERNELS.glob("*.cu")):
        for architecture in OF_ONE.get(source.name, ARCHITECTURES):
            for name, registers, stack, stored, loaded in sorted(reports(nvcc, source, architecture)):
                print(f"| `{plain(name)}` | {architecture} | {registers} | {stack} | {stored}, {loaded} |")


if __name__ == "__main__":
    main()
