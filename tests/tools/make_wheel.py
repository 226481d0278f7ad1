#!/usr/bin/env python3
"""Builds the wheels of the Python package and checks what it built.

Usage: make_wheel.py OUT [--python INTERPRETER]... [--sdist]

The environment has the packages of tests/tools/wheel_requirements.txt. Every interpreter gives one wheel, except that all
interpreters with the stable ABI share one. The tool prints the paths of the wheels.

On Linux, the module and the command need glibc 2.17 only (manylinux_2_17), on whatever machine they were built. Their
libraries are those of any other release build: only the last step, linking, differs. There zig's linker replaces the
machine's own, and finds the symbols of glibc 2.17. C sources were compiled with the machine's headers; the one newer
function that they call is in FCNTL64.

On other systems the tool builds with the machine's linker and leaves the platform tag to maturin.
"""

import argparse
import io
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "python"
GLIBC = (2, 17)
TAG = "manylinux_{}_{}".format(*GLIBC)
SIZE_MAX_MB = 60
# The parts of glibc, and its loader.
LIBRARIES = {"libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"}
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
# glibc has `fcntl64` since 2.28, and there its body, on 64-bit machines, is this one.
FCNTL64 = """\
#include <stdarg.h>

int fcntl(int fd, int command, ...);

__attribute__((visibility("hidden"))) int fcntl64(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(fd, command, argument);
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the wheels of the Python package and checks them.")
    parser.add_argument("out", type=Path, help="directory of the wheels")
    parser.add_argument("--python", action="append", metavar="INTERPRETER", help="interpreter to build for (this one)")
    parser.add_argument("--sdist", action="store_true", help="also build the source distribution")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    # The tools of this environment, whether it is activated or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    wheels = build(out, arguments.python or [sys.executable], arguments.sdist)
    problems = [f"{wheel.name}: {problem}" for wheel in wheels for problem in check(wheel)]
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    for wheel in wheels:
        print(wheel)


def build(out: Path, pythons: list[str], with_sdist: bool) -> list[Path]:
    """Builds the wheels into `out` and returns their paths."""
    is_linux = platform.system() == "Linux"
    rustc = ["-C", f"linker={make_linker(out.parent / TAG)}"] if is_linux else []
    maturin = ["maturin", "build", "--release", "--out", str(out)]
    if is_linux:
        maturin += ["--compatibility", TAG]
    for python in pythons:
        maturin += ["--interpreter", python]
    # The backend's code and maturin both want the directory of pyproject.toml.
    os.chdir(PACKAGE)
    sys.path.insert(0, str(PACKAGE / "backend"))
    from thinkloom_build import command_as_data

    if with_sdist:
        # Not `build --sdist`, which builds the wheels from the archive, in another place and so from the start.
        subprocess.run(["maturin", "sdist", "--out", str(out)], check=True)
    before = {wheel: wheel.stat().st_mtime_ns for wheel in out.glob("*.whl")}
    with command_as_data(*rustc):
        subprocess.run([*maturin, "--", *rustc] if rustc else maturin, check=True)
    return sorted(wheel for wheel in out.glob("*.whl") if before.get(wheel) != wheel.stat().st_mtime_ns)


def make_linker(work: Path) -> Path:
    """Writes a linker for programs and modules that need glibc 2.17 only, and returns its path.

    Its place does not change from build to build: the path is part of the names that cargo gives to what it links.
    """
    work.mkdir(parents=True, exist_ok=True)
    target = ["-target", "{}-linux-gnu.{}.{}".format(platform.machine(), *GLIBC)]
    # It translates the arguments of rustc that zig does not know.
    zig_cc = [str(Path(sys.executable).parent / "cargo-zigbuild"), "zig", "cc", "--", *target]
    source, compiled = work / "fcntl64.c", work / "fcntl64.o"
    source.write_text(FCNTL64)
    subprocess.run([*zig_cc, "-O2", "-fPIC", "-c", str(source), "-o", str(compiled)], check=True)
    linker = work / "cc"
    linker.write_text(f"#!/bin/sh\nexec {' '.join(zig_cc)} \"$@\" {compiled}\n")
    linker.chmod(0o755)
    return linker


def check(wheel: Path) -> Iterator[str]:
    """Yields what is wrong with a wheel."""
    size_mb = wheel.stat().st_size / 1e6
    if size_mb > SIZE_MAX_MB:
        yield f"{size_mb:.1f} MB, at most {SIZE_MAX_MB} are allowed"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        commands = [name for name in names if name.endswith(".data/scripts/thinkloom")]
        modules = [name for name in names if name.startswith("thinkloom/_thinkloom.") and name.endswith(".so")]
        if len(commands) != 1 or len(modules) != 1:
            yield f"holds the commands {commands} and the modules {modules}, expected one of each"
        if "thinkloom/py.typed" not in names:
            yield "holds no thinkloom/py.typed"
        if platform.system() != "Linux":
            return
        # auditwheel reads modules only; the command is held to the same limits here.
        for name in commands + modules:
            yield from check_elf(name, ELFFile(io.BytesIO(archive.read(name))))
    shown = subprocess.run(["auditwheel", "show", "--json", str(wheel)], check=True, stdout=subprocess.PIPE)
    tag = json.loads(shown.stdout)["overall_tag"]
    if tag != f"{TAG}_{platform.machine()}":
        yield f"auditwheel finds the tag {tag}, expected {TAG}_{platform.machine()}"


def check_elf(name: str, elf: ELFFile) -> Iterator[str]:
    """Yields what a program or module needs beyond glibc 2.17."""
    allowed = LIBRARIES | {LOADERS[platform.machine()]}
    versions: set[str] = set()
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            needed = {tag.needed for tag in section.iter_tags("DT_NEEDED")}
            if needed - allowed:
                yield f"{name} needs the libraries {sorted(needed - allowed)}"
        if isinstance(section, GNUVerNeedSection):
            versions |= {version.name for _, wanted in section.iter_versions() for version in wanted}
    newer = sorted(version for version in versions if glibc_version(version)[:2] > GLIBC)
    if newer or not versions:
        yield f"{name} needs {', '.join(newer) or 'no version of glibc'}, at most GLIBC_{GLIBC[0]}.{GLIBC[1]} is allowed"


def glibc_version(name: str) -> tuple[int, ...]:
    """Returns the number in the name of a symbol version, and one beyond every glibc for another library's names."""
    found = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", name)
    return tuple(map(int, found[1].split("."))) if found else (sys.maxsize,)


if __name__ == "__main__":
    main()
