#!/usr/bin/env python3
"""Builds llama.cpp for `make bench-engine`: build_llamacpp.py CACHE_DIR [--cpu native|sapphire_rapids]

The source comes from the PyPI package llama-cpp-python, whose archive is checked by SHA-256. The tools are built into
CACHE_DIR/CPU/bin; existing tools are not built again. The build is static, without CURL, OpenSSL and web interface.
cmake and ninja come from PATH, or from CACHE_DIR/venv through pip.

`--cpu native` uses the instructions of this machine. `--cpu sapphire_rapids` builds stripped, fully static tools for
another Linux machine with AVX-512 and AMX; the tools need not run on this machine.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
VENDORED = "llama_cpp_python-0.3.36/vendor/llama.cpp/"

# gcc 12 believes that _tile_loadconfig reads 8 of the 64 bytes, drops the stores to the others, and the tools crash at
# their first matrix product. The barrier makes the stores visible.
AMX_FILE = "ggml/src/ggml-cpu/amx/mmq.cpp"
AMX_CALL = "    _tile_loadconfig(&tc);\n"
AMX_BARRIER = '    asm volatile("" :: "r"(&tc) : "memory");\n'

TOOLS = {
    "native": ["llama-bench", "llama-batched-bench", "llama-tokenize", "llama-server"],
    "sapphire_rapids": ["llama-bench", "llama-batched-bench", "llama-tokenize"],
}
COMMON = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
STATIC = {"CMAKE_EXE_LINKER_FLAGS": "-static -Wl,--gc-sections -s", "CMAKE_CXX_FLAGS": "-ffunction-sections"}
CPU = {
    "native": {"GGML_NATIVE": "ON", "LLAMA_BUILD_SERVER": "ON"},
    "sapphire_rapids": {
        "GGML_NATIVE": "OFF",
        "LLAMA_BUILD_SERVER": "OFF",
        **{f"GGML_AVX512{suffix}": "ON" for suffix in ("", "_VNNI", "_BF16", "_VBMI")},
        **{f"GGML_AMX_{unit}": "ON" for unit in ("TILE", "INT8", "BF16")},
        **STATIC,
    },
}


def fetch(source):
    """Downloads and unpacks the source, patched; the folder is there whole or not at all."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        print(f"fetching {PACKAGE}", flush=True)
        # pip asks the package's build system for metadata, but compiles nothing.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--no-binary", "llama-cpp-python", "--dest", folder, PACKAGE], check=True)
        (archive,) = pathlib.Path(folder).glob("*.tar.gz")
        if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != SHA256:
            sys.exit(f"error: {archive.name} has SHA-256 {found}, expected {SHA256}")
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if member.name.startswith(VENDORED)]
            tar.extractall(folder, members=members)
        unpacked = pathlib.Path(folder) / VENDORED
        patch_amx(unpacked / AMX_FILE)
        unpacked.rename(source)


def patch_amx(path):
    text = path.read_text()
    if text.count(AMX_CALL) != 1:
        sys.exit(f"error: {AMX_FILE} has {text.count(AMX_CALL)} lines `{AMX_CALL.strip()}`, expected 1: "
                 "the AMX patch does not fit this version of llama.cpp")
    path.write_text(text.replace(AMX_CALL, AMX_BARRIER + AMX_CALL))


def build_programs(cache):
    """Returns the paths of cmake and ninja."""
    found = {name: shutil.which(name) for name in ("cmake", "ninja")}
    if not all(found.values()):
        venv = cache / "venv"
        if not (venv / "bin/ninja").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "cmake", "ninja"], check=True)
        found = {name: str(venv / "bin" / name) for name in found}
    return found["cmake"], found["ninja"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=pathlib.Path)
    parser.add_argument("--cpu", choices=sorted(CPU), default="native")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    source, target = cache / "source", cache / arguments.cpu
    if all((target / "bin" / tool).is_file() for tool in TOOLS[arguments.cpu]):
        print(f"llama.cpp is present in {target / 'bin'}")
        return
    if not source.is_dir():
        fetch(source)
    cmake, ninja = build_programs(cache)
    settings = {**COMMON, **CPU[arguments.cpu], "CMAKE_MAKE_PROGRAM": ninja}
    if "-static" in settings.get("CMAKE_EXE_LINKER_FLAGS", ""):
        # cmake finds the shared library of OpenMP, which a static program cannot be linked to.
        archive = subprocess.run(["c++", "-print-file-name=libgomp.a"], capture_output=True, text=True, check=True)
        settings["OpenMP_gomp_LIBRARY"] = archive.stdout.strip()
    definitions = [f"-D{key}={value}" for key, value in settings.items()]
    subprocess.run([cmake, "-S", source, "-B", target, "-G", "Ninja", *definitions], check=True)
    targets = [argument for tool in TOOLS[arguments.cpu] for argument in ("--target", tool)]
    subprocess.run([cmake, "--build", target, "--parallel", str(arguments.jobs), *targets], check=True)
    print(f"llama.cpp: {target / 'bin'}")


if __name__ == "__main__":
    main()
