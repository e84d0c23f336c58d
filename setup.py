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
# Without -mcpu it compiles for the very processor that it runs on.
ZIG = [sys.executable, "-m", "ziglang", "c++", "-mcpu=baseline", "-s"]


def works(name: str) -> bool:
    """Returns whether a compiler is there: on a Mac a name alone may be for show."""
    if not shutil.which(name):
        return False
    test = [name, "-std=c++17", "-fsyntax-only", "-x", "c++", os.devnull]
    return not subprocess.run(test, capture_output=True).returncode


def compiler() -> list[str]:
    """Returns the command to compile with; an empty one for Zig's."""
    if named := shlex.split(os.environ.get("CXX", "")):
        return named
    return list(filter(works, ("c++", "g++", "clang++")))[:1]


class Build(build_ext):
    """Compiles one file to one library, without Python's own flags and headers."""

    def get_ext_filename(self, fullname: str) -> str:
        """Returns the library's name, the same for every Python: it uses none."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        """Compiles it; if that fails there is a warning, and none, not an old one."""
        result = Path(self.get_ext_fullpath(ext.name))
        result.parent.mkdir(parents=True, exist_ok=True)
        result.unlink(missing_ok=True)
        if self.editable_mode:  # Then it is copied beside its source.
            Path(ext.sources[0]).with_name(result.name).unlink(missing_ok=True)
        try:
            import jaxlib

            headers = Path(jaxlib.__file__).parent / "include"
            command = [*(compiler() or ZIG), *FLAGS, "-isystem", str(headers)]
            subprocess.run([*command, *ext.sources, "-o", str(result)], check=True)
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            raise CompileError(
                f"the C++ of mnistopt was not compiled: {error}"
            ) from error


# It was never tried on Windows.
if sys.platform in ("linux", "darwin"):
    source = Extension("mnistopt.models._fused", ["mnistopt/models/fused.cpp"])
    source.optional = True
    setup(
        cmdclass={"build_ext": Build},
        ext_modules=[source],
        setup_requires=[] if compiler() else ["ziglang"],
    )
else:
    setup()
