"""Fails if the fuzz targets would not be built with the libraries of the program: other versions, or another profile.

    same_build.py ROOT FUZZ

ROOT and FUZZ are the directories of two workspaces, each with its own lock file and profile. The fuzz targets are to meet the
libraries that the program is built with, and one build of those libraries serves both. The program's own packages
(thinkloom...) have another profile on purpose.
"""

import re
import sys
from pathlib import Path


def versions(directory):
    """Returns the versions of each package of a lock file."""
    found = {}
    for name, version in re.findall(r'^name = "(.*)"\nversion = "(.*)"', (directory / "Cargo.lock").read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


def profile(directory, names):
    """Returns the release profile: its own settings, and the overrides of these packages but the program's own."""
    text = (directory / "Cargo.toml").read_text()
    tables = dict(re.findall(r"^\[(profile\.release(?:\.package)?)\]\n((?:(?!\[).*\n)*)", text, re.M))
    settings = {name: re.findall(r"^([\w-]+) = (.+)$", table, re.M) for name, table in tables.items()}
    overrides = dict(settings["profile.release.package"])
    found = {name: value for name, value in overrides.items() if name in names and not name.startswith("thinkloom")}
    return {**{f"release.{name}": value for name, value in settings["profile.release"]}, **found}


def main():
    program, other = (Path(path) for path in sys.argv[1:3])
    had, meant = versions(other), versions(program)
    problems = [
        f"{name} {', '.join(sorted(found))}; the program has {', '.join(sorted(meant[name]))} "
        f"(hint: cargo update --manifest-path {other}/Cargo.toml -p {name} --precise VERSION)"
        for name, found in had.items()
        if name in meant and found - meant[name]
    ]
    there, here = profile(other, had), profile(program, had)
    problems += [
        f"profile of {name}: {there.get(name, 'none')}; the program has {here.get(name, 'none')}"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
    for problem in problems:
        print(f"{other}: {problem}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
