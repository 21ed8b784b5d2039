"""Builds the native libraries with CMake and Ninja; everything else stands in pyproject.toml.

Environment: FLMR_CUDA=AUTO|ON|OFF (build the CUDA library where nvcc is, demand it, leave it out),
FLMR_SANITIZE=address|thread (an instrumented native module).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent


def tool(name: str) -> str:
    """The program that came with this interpreter's packages, else the system's."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise SystemExit(f"flmr: {name} is needed to build the native library: pip install {name}")
    return found


class CMakeBuild(build_ext):
    """Puts flmr/_native and, where there is a CUDA toolkit, flmr/libflmr_cuda.so in place."""

    def build_extension(self, ext: Extension) -> None:
        output = Path(self.get_ext_fullpath(ext.name)).resolve().parent
        sanitize = os.environ.get("FLMR_SANITIZE", "")
        self.cmake(ROOT, "native", FLMR_OUTPUT=output, FLMR_SANITIZE=sanitize, Python_EXECUTABLE=sys.executable)

        cuda = os.environ.get("FLMR_CUDA", "AUTO").upper()
        if cuda not in ("AUTO", "ON", "OFF"):
            raise SystemExit(f"flmr: FLMR_CUDA must be AUTO, ON or OFF, not {cuda}")
        compiler = os.environ.get("CUDACXX") or shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
        if cuda == "OFF" or (cuda == "AUTO" and compiler is None):
            return
        try:
            self.cmake(ROOT / "csrc" / "cuda", "cuda", FLMR_OUTPUT=output, CMAKE_CUDA_COMPILER=compiler or "nvcc")
        except subprocess.CalledProcessError:
            if cuda == "ON":
                raise
            print("flmr: the CUDA library did not build; going on without it", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:
        """In place, setuptools copies the extension that it knows; the CUDA library lies beside it."""
        super().copy_extensions_to_source()
        for library in (ROOT / self.build_lib / "flmr").glob("libflmr_cuda.so"):
            shutil.copy2(library, ROOT / "flmr")

    def cmake(self, source: Path, folder: str, **options: object) -> None:
        """Configure and build one CMake project; --fresh, because build environments come and go."""
        build = ROOT / self.build_temp / folder
        given = [f"-D{name}={value}" for name, value in options.items()]
        start = [tool("cmake"), "--fresh", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
        subprocess.run([*start, "-S", str(source), "-B", str(build), *given], check=True)
        subprocess.run([tool("cmake"), "--build", str(build)], check=True)


setup(ext_modules=[Extension("flmr._native", sources=[])], cmdclass={"build_ext": CMakeBuild})
