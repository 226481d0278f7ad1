#!/usr/bin/env python3
"""Builds the wheels of the Python package, checks them, and tries them out in new environments.

Usage: make_wheel.py OUT [--python FILE]... [--sdist] [--archive]

The environment has the packages of wheel_requirements.txt. The interpreters with the stable ABI share one wheel; each
free-threaded interpreter has its own. The tool first removes the package's earlier files from OUT.

On Linux, module and command need glibc 2.17 only (manylinux_2_17), whatever the machine has. Their libraries are those
of any other release build, so that nothing is compiled twice. Only the linker differs: zig's knows the symbols of every
glibc, and FCNTL64 is the one function that C sources call by a newer name. On other systems the tool uses the machine's
linker, and maturin decides on the platform tag.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "python"
IS_LINUX = platform.system() == "Linux"
GLIBC = (2, 17)
TAG = "manylinux_{}_{}".format(*GLIBC)
SIZE_MAX_MB = 60
# The parts of glibc, and its loader.
LIBRARIES = {"libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"}
LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
# glibc has the name since 2.28. On a 64-bit machine this is all it does.
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
# What a new environment with nothing but the wheel must do.
TRIAL = r"""
import thinkloom
assert thinkloom.verify("1/2", r"It is \boxed{0.5}."), "0.5 is 1/2"
assert not thinkloom.verify("1/2", r"It is \boxed{0.6}."), "0.6 is not 1/2"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the wheels of the Python package and checks them.")
    parser.add_argument("out", type=Path, help="directory of the wheels")
    parser.add_argument("--python", action="append", metavar="FILE", help="an interpreter to build for (repeatable)")
    parser.add_argument("--sdist", action="store_true", help="build the source distribution, too")
    parser.add_argument("--archive", action="store_true", help="pack the command alone, too, into OUT/../archives")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    pythons = [find(python) for python in arguments.python or [sys.executable]]
    # The tools of this environment, whether it is activated or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if "CARGO_TARGET_DIR" in os.environ:
        os.environ["CARGO_TARGET_DIR"] = os.path.abspath(os.environ["CARGO_TARGET_DIR"])
    # The backend and maturin want the directory of pyproject.toml.
    os.chdir(PACKAGE)
    wheels = build(out, pythons, arguments.archive)
    problems = [f"{wheel.name}: {problem}" for wheel in wheels for problem in check(wheel)]
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    for python in pythons:
        try_out(out, python)
    if arguments.sdist:
        # Not `maturin build --sdist`, which builds the wheels from the archive, in another place and so from the start.
        subprocess.run(["maturin", "sdist", "--out", str(out)], check=True)
    for path in sorted(out.iterdir()):
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


def find(python: str) -> str:
    """Returns the path of an interpreter that is named as in a shell."""
    found = shutil.which(python)
    if found is None:
        sys.exit(f"error: no interpreter {python} was found\nhint: name one on PATH, or its file")
    return os.path.abspath(found)


def build(out: Path, pythons: list[str], with_archive: bool) -> list[Path]:
    """Builds the wheels into `out` and returns their paths."""
    sys.path.insert(0, str(PACKAGE / "backend"))
    from thinkloom_build import command_as_data

    for earlier in out.glob("thinkloom-*"):
        earlier.unlink()
    rustc = ["-C", f"linker={make_linker(out.parent / TAG)}"] if IS_LINUX else []
    maturin = ["maturin", "build", "--release", "--out", str(out)]
    maturin += ["--compatibility", TAG] if IS_LINUX else []
    for python in pythons:
        maturin += ["--interpreter", python]
    with command_as_data(*rustc) as command:
        subprocess.run([*maturin, *(["--", *rustc] if rustc else [])], check=True)
        wheels = sorted(out.glob("*.whl"))
        if with_archive:
            write_archive(out.parent / "archives", command, version=wheels[0].name.split("-")[1])
    return wheels


def make_linker(work: Path) -> Path:
    """Writes a linker for programs and modules that need glibc 2.17 only, and returns its path.

    The path does not change from build to build: it is part of the names that cargo gives to what it links.
    """
    work.mkdir(parents=True, exist_ok=True)
    target = "{}-linux-gnu.{}.{}".format(platform.machine(), *GLIBC)
    # cargo-zigbuild translates the arguments of rustc that zig does not know.
    zig_cc = [str(Path(sys.executable).parent / "cargo-zigbuild"), "zig", "cc", "--", "-target", target]
    source, compiled = work / "fcntl64.c", work / "fcntl64.o"
    source.write_text(FCNTL64)
    subprocess.run([*zig_cc, "-O2", "-fPIC", "-c", str(source), "-o", str(compiled)], check=True)
    linker = work / "cc"
    linker.write_text(f"#!/bin/sh\nexec {shlex.join(zig_cc)} \"$@\" {shlex.quote(str(compiled))}\n")
    linker.chmod(0o755)
    return linker


def write_archive(out: Path, command: Path, version: str) -> None:
    """Packs the command, README and licence into a .tar.gz, with a file of its SHA-256: same inputs, same bytes."""
    out.mkdir(exist_ok=True)
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    name = f"thinkloom-{version}-{system}-{platform.machine()}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, mode in [(command, 0o755), (ROOT / "LICENSE", 0o644), (ROOT / "README.md", 0o644)]:
            entry = tarfile.TarInfo(f"{name}/{path.name}")
            entry.size, entry.mode = path.stat().st_size, mode
            with path.open("rb") as file:
                archive.addfile(entry, file)
    compressed = gzip.compress(packed.getvalue(), mtime=0)
    (out / f"{name}.tar.gz").write_bytes(compressed)
    digest = hashlib.sha256(compressed).hexdigest()
    (out / f"{name}.tar.gz.sha256").write_text(f"{digest}  {name}.tar.gz\n")


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
        if not IS_LINUX:
            return
        # auditwheel reads modules only. The command is held to the same limits here.
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
                yield f"{name} needs the libraries {', '.join(sorted(needed - allowed))}"
        if isinstance(section, GNUVerNeedSection):
            versions |= {version.name for _, wanted in section.iter_versions() for version in wanted}
    newer = ", ".join(sorted(version for version in versions if glibc_version(version)[:2] > GLIBC))
    if newer or not versions:
        yield f"{name} needs {newer or 'no version of glibc'}, at most GLIBC_{GLIBC[0]}.{GLIBC[1]} is allowed"


def glibc_version(name: str) -> tuple[int, ...]:
    """Returns the number in the name of a symbol version; for names of other libraries, one beyond every glibc."""
    found = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", name)
    return tuple(map(int, found[1].split("."))) if found else (sys.maxsize,)


def try_out(wheels: Path, python: str) -> None:
    """Installs the wheel into a new environment of an interpreter, and uses its command and its module."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([python, "-m", "venv", directory], check=True)
        programs = Path(directory) / "bin"
        pip = [str(programs / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        pip += ["--no-index", "--find-links", str(wheels), "--only-binary", ":all:"]
        subprocess.run([*pip, "thinkloom"], check=True)
        subprocess.run([programs / "thinkloom", "--version"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([programs / "python", "-I", "-c", TRIAL], check=True)


if __name__ == "__main__":
    main()
