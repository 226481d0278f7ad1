#!/usr/bin/env python3
"""Lists circles of files: files of one room of `src/` that depend on each other, by the paths in their code.

    circles.py [ROOT]

A file depends on another if its code, without tests, names an item that the other file defines: through `use`, or by a path
that begins with `crate`, `super`, `self` or a module's name. A name that a module file re-exports (`pub use`) counts for the
file that defines it; a re-export alone is not a dependency, unless the file's own code also uses the name. A room is a
directory below `src/`, or a file `src/ROOM.rs` with its directory. Prints each circle with its dependencies. Exits with 1 if
`ALLOWED` does not name a circle, or if `ALLOWED` names a circle that does not exist.
"""
import re
import sys
from pathlib import Path

# Circles that stay: `frozenset({"room/one.rs", "room/other.rs"}): "why"`, with paths below `src/`.
ALLOWED = {}

LITERALS = re.compile(
    r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\\\'\n])\'', re.S)
USE = re.compile(r"(^|\n)[ \t]*(pub(?:\([^)]*\))?[ \t]+)?use[ \t]+([^;]+);")
DEFINED = re.compile(
    r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)[ \t]+(?:mut[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)")
INLINE = re.compile(r"\bmod[ \t]+([a-z_][A-Za-z0-9_]*)[ \t\n]*\{")
BARE = re.compile(r"(?<![A-Za-z0-9_:.])(?:[A-Z][A-Za-z0-9_]*|[a-z_][a-z0-9_]*(?=\())")
PATH = re.compile(r"(?<![A-Za-z0-9_:.])((?:[a-z_][A-Za-z0-9_]*::)+[A-Za-z_][A-Za-z0-9_]*)")


def code_of(text):
    """The code without comments, texts and test modules."""
    text = LITERALS.sub(lambda found: re.sub(r"[^\n]", " ", found.group(0)), text)
    kept, at = [], 0
    for found in re.finditer(r"#\[cfg\((?:test|any\(test[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*", text):
        if found.start() < at:
            continue
        kept.append(text[at:found.start()])
        at = end_of_item(text, found.end())
    return "".join(kept) + text[at:]


def end_of_item(text, at):
    depth = 0
    while at < len(text):
        if text[at] in "{([":
            depth += 1
        elif text[at] in "})]":
            depth -= 1
            if depth == 0 and text[at] == "}":
                return at + 1
        elif text[at] in ";" and depth == 0:
            return at + 1
        at += 1
    return at


def leaves(tree, prefix=()):
    """The paths of a use tree, each with the name that it is given here."""
    tree = tree.strip()
    group = re.match(r"(.*?)\{(.*)\}$", tree, re.S)
    if group:
        prefix += tuple(part.strip() for part in group.group(1).split("::") if part.strip())
        depth, start, inner = 0, 0, group.group(2)
        for index, character in enumerate(inner + ","):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if character == "," and depth == 0:
                if inner[start:index].strip():
                    yield from leaves(inner[start:index], prefix)
                start = index + 1
        return
    path, _, name = re.sub(r"\s+", " ", tree).partition(" as ")
    parts = prefix + tuple(part.strip() for part in path.split("::") if part.strip())
    if parts and parts[-1] == "self":
        parts = parts[:-1]
    if parts:
        yield parts, name or parts[-1]


def spread(code, inner=()):
    """The code without the modules that are written out in it, and theirs, each with the names of the modules around it."""
    while found := INLINE.search(code):
        end = end_of_item(code, found.end() - 1)
        yield from spread(code[found.end():end - 1], (*inner, found.group(1)))
        code = code[:found.start()] + code[end:]
    yield inner, code


class Module:
    def __init__(self, path, name, code):
        self.path, self.name = path, name
        self.handed_on, self.paths, self.defined = {}, [], set()
        for inner, part in spread(code):
            for _, public, tree in USE.findall(part):
                for parts, given in leaves(tree):
                    if not inner:
                        self.handed_on[given] = parts
                    if not public:
                        self.paths.append((inner, parts))
            rest = USE.sub("\n", part)
            self.paths += [(inner, tuple(found.split("::"))) for found in PATH.findall(rest)]
            self.defined |= set(DEFINED.findall(rest))
            if not inner:
                # What is handed on and is also a type of, or called in, the file's own code.
                own = set(BARE.findall(rest))
                self.paths += [(inner, parts) for given, parts in self.handed_on.items() if given in own]


def is_test(path):
    return path.stem.endswith("tests") or path.stem == "testing" or any(part.endswith("tests") for part in path.parts)


def modules(base, files):
    found = {}
    for path in files:
        if is_test(path.relative_to(base)):
            continue
        parts = list(path.relative_to(base).with_suffix("").parts)
        if parts[-1] in ("mod", "lib"):
            parts.pop()
        found[tuple(parts)] = Module(path, tuple(parts), code_of(path.read_text()))
    return found


def absolute(here, parts, known):
    """A path from the root, or none if it leads elsewhere."""
    if parts[0] == "crate":
        return parts[1:]
    if parts[0] == "self":
        return here + parts[1:]
    if parts[0] == "super":
        while parts and parts[0] == "super":
            here, parts = here[:-1], parts[1:]
        return here + parts
    return here + parts if here + parts[:1] in known else None


def target(known, path, seen=()):
    """The module that defines what a path leads to."""
    length = max(length for length in range(len(path) + 1) if path[:length] in known)
    module, rest = known[path[:length]], path[length:]
    if not rest or rest[0] in module.defined or rest[0] == "*" or path in seen:
        return module
    handed = module.handed_on.get(rest[0])
    if handed:
        further = absolute(module.name, handed, known)
        return target(known, further + rest[1:], (*seen, path)) if further is not None else None
    return module


def needs(known):
    edges = {}
    for here, module in known.items():
        for inner, parts in module.paths:
            whole = absolute(here + inner, parts, known)
            goal = target(known, whole) if whole is not None else None
            if goal and goal is not module:
                edges.setdefault(module, {}).setdefault(goal, set()).add("::".join(parts))
    return edges


def circles(edges):
    """Strongly connected components of more than one file (Tarjan), by an explicit stack."""
    order, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in list(edges):
        if root in order:
            continue
        work = [(root, iter(edges.get(root, {})))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    component = set()
                    while node not in component:
                        component.add(stack.pop())
                    on_stack -= component
                    if len(component) > 1:
                        found.append(component)
            elif following not in order:
                order[following] = low[following] = len(order)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(edges.get(following, {}))))
            elif following in on_stack:
                low[node] = min(low[node], order[following])
    return found


def main():
    source = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "src"
    packages = {path.parent for path in source.glob("*/Cargo.toml")}
    files = sorted(source.rglob("*.rs"))
    bases = {base: [path for path in files if base in path.parents] for base in packages}
    bases[source] = [path for path in files if not any(base in path.parents for base in packages)]
    failed, met = False, set()
    for base, members in sorted(bases.items()):
        known = modules(base, members)
        known.setdefault((), Module(base, (), ""))
        edges = needs(known)
        room = (lambda module: base.name) if base in packages else (lambda module: module.name[:1])
        inside = {one: {other: by for other, by in goals.items() if room(one) == room(other)}
                  for one, goals in edges.items() if one.name or base in packages}
        for circle in sorted(circles(inside), key=lambda circle: -len(circle)):
            names = sorted(str(one.path.relative_to(source)) for one in circle)
            met.add(frozenset(names))
            reason = ALLOWED.get(frozenset(names))
            failed |= reason is None
            print(f"{names[0].split('/')[0]}: {len(names)} files{f' (stays: {reason})' if reason else ''}")
            for one in sorted(circle, key=lambda one: str(one.path)):
                for other, by in inside.get(one, {}).items():
                    if other in circle:
                        print(f"  {one.path.relative_to(source)} -> {other.path.relative_to(source)}: {', '.join(sorted(by)[:4])}")
    for gone in sorted(sorted(circle) for circle in ALLOWED.keys() - met):
        failed = True
        print(f"ALLOWED names a circle that is not there: {', '.join(gone)}")
    if not failed:
        print("no circles of files" + (" but those that stay" if ALLOWED else ""))
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
