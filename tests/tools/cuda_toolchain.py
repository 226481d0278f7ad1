#!/usr/bin/env python3
"""Prepares a machine without a CUDA toolkit and without a GPU for `cargo build --features cuda`.

The compiler and the libraries come from Python packages, whose folder `nvidia/cu13` has the layout of a toolkit. The tool
adds the missing files: unversioned names for the linker, and a `libcuda.so` of empty functions in place of the driver,
which exists only on machines with a GPU.

Usage: cuda_toolchain.py CACHE_DIR

Prints `export NAME=VALUE` lines for a shell. If CUDA_HOME is set, the tool uses it and fetches nothing.
CUDA_COMPUTE_CAP selects the GPU: 80 for A100, 86 for RTX 30, 89 for RTX 40, 90 for H100 (default), 120 for RTX 50.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PACKAGES = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cublas==13.1.0.3",
    "nvidia-curand==10.4.0.35",
]


def fetch(cache: Path) -> Path:
    """Installs the packages below `cache`, once, and returns the toolkit's folder."""
    home = cache / "packages" / "nvidia" / "cu13"
    stamp = cache / "installed"
    if stamp.is_file() and stamp.read_text() == "\n".join(PACKAGES):
        return home
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*pip, "--target", str(cache / "packages"), *PACKAGES], check=True, stdout=sys.stderr)
    for library in sorted((home / "lib").glob("lib*.so.*")):
        link = library.with_name(library.name.split(".so.")[0] + ".so")
        if not link.exists():
            link.symlink_to(library.name)
    write_driver(home)
    # The name that toolkits give the folder, and that some build scripts look for.
    if not (home / "lib64").exists():
        (home / "lib64").symlink_to("lib")
    stamp.write_text("\n".join(PACKAGES))
    return home


def write_driver(home: Path) -> None:
    """Writes `libcuda.so`: every function that the toolkit's `cuda.h` names, for the linker to find."""
    names = sorted(set(re.findall(r"\bcu[A-Z]\w*", (home / "include" / "cuda.h").read_text())))
    source = "\n".join(f"void {name}(void) {{}}" for name in names)
    command = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-o", str(home / "lib" / "libcuda.so"), "-x", "c", "-"]
    subprocess.run(command, input=source.encode(), check=True)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    variables = {"CUDA_COMPUTE_CAP": os.environ.get("CUDA_COMPUTE_CAP", "90")}
    if not os.environ.get("CUDA_HOME"):
        home = fetch(Path(sys.argv[1]).resolve())
        variables["CUDA_HOME"] = str(home)
        variables["PATH"] = f"{home / 'bin'}:{os.environ.get('PATH', '')}"
        # For the linker only: at run time the driver's and the toolkit's own libraries are found.
        variables["LIBRARY_PATH"] = ":".join(filter(None, [str(home / "lib"), os.environ.get("LIBRARY_PATH")]))
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    main()
