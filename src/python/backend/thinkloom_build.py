"""The build backend of the Python package: maturin, with the command `thinkloom` in the wheel.

maturin packs a module or programs, not both. This backend therefore has cargo build the program, and shows it to
maturin as data: pip installs the files in `scripts/` of the data directory beside `python`. The command is then the
program itself. A Python entry point would start an interpreter for each command, and stand between the program and its
signals.

A build needs cargo and a C compiler; it downloads no toolchain. cargo's own variables (CARGO_TARGET_DIR,
CARGO_NET_OFFLINE) hold for module and command.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "command_as_data",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

# Without cargo, maturin's hooks would fetch a toolchain.
os.environ["MATURIN_NO_INSTALL_RUST"] = "1"


def build_wheel(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds a wheel with module and command, and returns the wheel's file name (PEP 517)."""
    with command_as_data():
        wheel: str = maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
    return wheel


def build_editable(
    wheel_directory: str,
    config_settings: Mapping[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds an editable wheel with module and command, and returns the wheel's file name (PEP 660)."""
    with command_as_data():
        wheel: str = maturin.build_editable(wheel_directory, config_settings, metadata_directory)
    return wheel


@contextlib.contextmanager
def command_as_data(*rustc_args: str) -> Iterator[Path]:
    """Builds the command, and keeps a copy in maturin's data directory until the `with` block ends.

    The current directory is that of `pyproject.toml`.

    Args:
        rustc_args: Arguments for the compilation of the program itself, such as another linker. They do not apply to
            its libraries, which are those of any other release build.

    Yields:
        The path of the program.
    """
    settings = maturin.get_config()
    program = build_command(settings, rustc_args)
    # The name of the directory in which maturin looks.
    data = Path(f"{settings['module-name']}.data")
    # A build that was killed leaves its copy.
    shutil.rmtree(data, ignore_errors=True)
    try:
        (data / "scripts").mkdir(parents=True)
        shutil.copy2(program, data / "scripts" / program.name)
        yield program
    finally:
        shutil.rmtree(data)


def build_command(settings: Mapping[str, Any], rustc_args: tuple[str, ...]) -> Path:
    """Builds the release program as maturin's settings demand, and returns its path."""
    cargo = shutil.which("cargo")
    if cargo is None:
        sys.exit("error: cargo was not found\nhint: install Rust (`rust-version` in Cargo.toml names the version)")
    command = [cargo, "rustc", "--manifest-path", settings.get("manifest-path", "Cargo.toml")]
    command += ["--package", "thinkloom", "--bin", "thinkloom", "--release"]
    command += ["--message-format", "json-render-diagnostics"]
    if settings.get("locked"):
        command.append("--locked")
    if rustc_args:
        command += ["--", *rustc_args]
    print(f"Running `{' '.join(command)}`", flush=True)
    built = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        sys.exit(f"error: cargo failed to build the command (exit code {built.returncode})")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(Path(message["executable"]) for message in messages if message.get("executable"))
