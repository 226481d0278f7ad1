"""Fails if two lock files hold different versions of a package that both hold.

    same_versions.py Cargo.lock tests/fuzz/Cargo.lock

The fuzz targets have a separate lock file. They must use the same library versions as the program, so that they test these
versions and both share one build of the libraries.
"""

import re
import sys


def versions(path):
    """Returns the versions of each package of a lock file."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for name, version in re.findall(r'^name = "(.*)"\nversion = "(.*)"', file.read(), re.M):
            found.setdefault(name, set()).add(version)
    return found


def main():
    program, other = (versions(path) for path in sys.argv[1:3])
    differ = {name: had - program[name] for name, had in other.items() if name in program and had - program[name]}
    for name, had in sorted(differ.items()):
        print(f"{sys.argv[2]}: {name} {', '.join(sorted(had))}; {sys.argv[1]} has {', '.join(sorted(program[name]))}")
    if differ:
        print("hint: cargo update --manifest-path tests/fuzz/Cargo.toml -p NAME --precise VERSION", file=sys.stderr)
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
