"""Compiles the C++ of mnistopt, where that can be done; all else is in pyproject.toml.

By what `CXX` names, else a compiler of the system, else Zig's, which pip then fetches.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-w"]
FOUND = next(filter(shutil.which, ("c++", "g++", "clang++")), None)
COMPILER = shlex.split(os.environ.get("CXX") or FOUND or "")
# It compiles for the very processor, if it is not told.
ZIG = [sys.executable, "-m", "ziglang", "c++", "-mcpu=baseline", "-s"]
# None was ever tried on Windows.
POSSIBLE = sys.platform in ("linux", "darwin")


class Build(build_ext):
    """Compiles without Python's own flags and headers, of which nothing is used."""

    def build_extension(self, ext: Extension) -> None:
        """Compiles one file to one library; what fails is left out, with a warning."""
        import jaxlib

        result = Path(self.get_ext_fullpath(ext.name))
        result.parent.mkdir(parents=True, exist_ok=True)
        headers = Path(jaxlib.__file__).parent / "include"
        command = [*(COMPILER or ZIG), *FLAGS, "-isystem", str(headers), *ext.sources]
        try:
            subprocess.run([*command, "-o", str(result)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise CompileError(f"mnistopt's C++ was not compiled: {error}") from error


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(
            "mnistopt.models._fused",
            ["mnistopt/models/fused.cpp"],
            optional=True,
            py_limited_api=True,
        )
    ]
    if POSSIBLE
    else [],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    setup_requires=["ziglang"] if POSSIBLE and not COMPILER else [],
)
