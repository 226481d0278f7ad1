"""The documentation and the types of the package: examples run, stubs hold, nothing else is imported."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import thinkloom
from thinkloom import _thinkloom


def documented() -> list[tuple[str, str]]:
    """Returns every docstring of the public names, and of their methods."""
    found = [("thinkloom", thinkloom.__doc__ or "")]
    for name in thinkloom.__all__:
        value = getattr(thinkloom, name)
        if name == "__version__":
            continue
        found.append((name, value.__doc__ or ""))
        if isinstance(value, type) and value.__module__ in ("thinkloom", "thinkloom._thinkloom"):
            members = {key: member for key, member in vars(value).items() if not key.startswith("_")}
            found += [(f"{name}.{key}", member.__doc__ or "") for key, member in members.items()]
    return found


@pytest.mark.parametrize(("name", "text"), documented(), ids=lambda value: value if len(value) < 40 else "")
def test_public_names_are_documented_and_their_examples_run(name: str, text: str) -> None:
    assert len(text) > 10, f"{name} has no documentation"
    examples = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(examples)
    assert results.failed == 0
    if name in ("verify", "verify_batch", "verify_code", "verify_code_batch", "reward", "parse", "render", "dedup", "Verdict"):
        assert results.attempted > 1


def test_the_examples_of_the_readme_run() -> None:
    text = (Path(__file__).resolve().parents[3] / "src" / "python" / "package" / "README.md").read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, "README", None, None)
    results = doctest.DocTestRunner().run(examples)
    assert results.attempted > 4 and results.failed == 0


def test_the_stubs_are_those_of_the_module() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy.stubtest", "thinkloom._thinkloom", "--concise"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_typed_program_checks() -> None:
    program = "import thinkloom\nverdict = thinkloom.verify('1', '1')\nreveal_type(verdict.extracted)\nthinkloom.verify('1', b'1')\n"
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "-c", program], capture_output=True, text=True, check=False)
    assert 'note: Revealed type is "str | None"' in done.stdout or "Union[builtins.str, None]" in done.stdout or "builtins.str | None" in done.stdout, done.stdout
    assert 'incompatible type "bytes"' in done.stdout


def test_importing_the_package_imports_no_other() -> None:
    code = "import sys, thinkloom; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    names = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pyarrow", "torch", "trl", "verl", "openrlhf", "verifiers", "sympy", "math_verify"} & set(names)


def test_the_private_module_shows_its_classes_under_the_package() -> None:
    assert thinkloom.Verdict.__module__ == "thinkloom" and _thinkloom.__version__ == thinkloom.__version__
