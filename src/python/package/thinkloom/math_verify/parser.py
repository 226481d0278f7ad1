"""Finds the answer in a text: `parse`, and the configurations of the texts that it accepts."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import thinkloom

from ._checks import check_choice, check_timeout, check_type, type_name, unicode_text

__all__ = [
    "Answer",
    "ExprExtractionConfig",
    "ExtractionTarget",
    "LatexExtractionConfig",
    "NormalizationConfig",
    "StringExtractionConfig",
    "parse",
]

# Strategies of `thinkloom.extract` that find an answer by its box or its announcement.
_ANCHORED = frozenset({"boxed", "final_answer", "answer_is", "hash_mark"})
# Strategies that only find LaTeX.
_LATEX = frozenset({"boxed", "math_span"})
# Words alone, such as \\text{even}: no answer in a response, but a gold.
_WORDS = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\{[^{}\\$]*\}")
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))


def _check_boxed(boxed: object, name: str = "boxed") -> None:
    if boxed not in ("all", "last", True):
        raise NotImplementedError(f'{name}={boxed!r} is not supported: boxes are always read; use "all" or "last"')


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that `parse` found. Two answers are equal if kind, extracted answer and choices are.

    Attributes:
        extracted: The answer, without the delimiters of a formula; `str()` returns it.
        text: The whole text that was parsed; `verify` judges a response by it.
        kind: `math` or `choice`.
        choices: The strings to choose from if the kind is `choice`, else empty.
        strategy: How the answer was found, as in `thinkloom.Extracted`.
    """

    extracted: str
    text: str = field(repr=False, compare=False)
    kind: Literal["math", "choice"] = "math"
    choices: tuple[str, ...] = ()
    strategy: str = field(default="whole", repr=False, compare=False)

    def __str__(self) -> str:
        return self.extracted


@runtime_checkable
class _Normalization(Protocol):
    """The fields of a normalization: those of `NormalizationConfig`, and of latex2sympy2_extended's class."""

    @property
    def basic_latex(self) -> object: ...
    @property
    def units(self) -> object: ...
    @property
    def malformed_operators(self) -> object: ...
    @property
    def nits(self) -> object: ...
    @property
    def boxed(self) -> object: ...
    @property
    def equations(self) -> object: ...


@dataclass(frozen=True)
class NormalizationConfig:
    """The LaTeX that is cleaned before it is compared. No field has an effect.

    thinkloom parses each notation by its meaning, in golds and in responses, and deletes nothing:

    - `basic_latex`, `nits`: layout commands, spaces and trailing points never change a value.
    - `units`: units are compared. A missing unit is accepted, a unit of the same dimension is converted, any other unit
      makes the answer incorrect.
    - `malformed_operators`: `\\frac12` and `\\sqrt2` are valid LaTeX, and read as TeX reads them; text that is not
      LaTeX, such as `frac12`, is not repaired.
    - `equations`: deprecated in math-verify, where it has no effect on parsed equations.
    - `boxed`: `"all"`, `"last"` or True. The last box counts; boxes side by side, or joined by "and", "or" or a comma,
      are one list.

    Raises:
        NotImplementedError: `boxed` is `"none"` or False: boxes are always read.
    """

    basic_latex: bool = True
    units: bool = False
    malformed_operators: bool = False
    nits: bool = False
    boxed: Literal["all", "last", "none"] | bool = "all"
    equations: bool = False

    def __post_init__(self) -> None:
        _check_boxed(self.boxed)


@dataclass(frozen=True)
class LatexExtractionConfig:
    """Accepts answers in LaTeX: in a box, between the delimiters of a formula, or with a LaTeX command.

    Args:
        try_extract_without_anchor: If False, only an answer in a box, after an announcement ("the answer is",
            "Answer:") or after `####` is accepted.
        boxed_match_priority: 0 to 50. Without effect in this range: a box always counts before any sentence.
        normalization_config: A `NormalizationConfig`, or latex2sympy2_extended's class of this name. Without effect,
            for the reasons in `NormalizationConfig`.

    Raises:
        TypeError: An argument has the wrong type.
        NotImplementedError: `boxed_match_priority` is outside 0 to 50, where a box counts after a sentence or never, or
            `normalization_config.boxed` is `"none"` or False.
    """

    try_extract_without_anchor: bool = True
    boxed_match_priority: int = 50
    normalization_config: _Normalization = field(
        default_factory=lambda: NormalizationConfig(units=True, malformed_operators=True, nits=True)
    )

    def __post_init__(self) -> None:
        check_type("try_extract_without_anchor", self.try_extract_without_anchor, bool, "bool")
        check_type("boxed_match_priority", self.boxed_match_priority, int, "int")
        if not 0 <= self.boxed_match_priority <= 50:
            raise NotImplementedError(
                f"boxed_match_priority={self.boxed_match_priority} is not supported: a box always counts before any "
                "sentence; use 0 to 50"
            )
        if not isinstance(self.normalization_config, _Normalization):
            raise TypeError(
                f"normalization_config is {type_name(self.normalization_config)}, expected NormalizationConfig"
            )
        _check_boxed(self.normalization_config.boxed, "normalization_config.boxed")


@dataclass(frozen=True)
class ExprExtractionConfig:
    """Accepts answers in plain notation, such as `1/2`, and in LaTeX.

    LaTeX is accepted too because it cannot make a wrong value right: a gold in plain notation meets boxed responses.

    Args:
        try_extract_without_anchor: If False, only an answer in a box, after an announcement ("the answer is",
            "Answer:") or after `####` is accepted.

    Raises:
        TypeError: The argument has the wrong type.
    """

    try_extract_without_anchor: bool = True

    def __post_init__(self) -> None:
        check_type("try_extract_without_anchor", self.try_extract_without_anchor, bool, "bool")


@dataclass(frozen=True)
class StringExtractionConfig:
    """Accepts one of several strings, such as the letters of choices.

    Args:
        strings: The strings. Letters name themselves: of ("B", "C"), the answer "A" is none.
        try_extract_without_anchor: If False, only an answer in a box, after an announcement ("the answer is",
            "Answer:") or after `####` is accepted.
        lowercase: If True, the extracted answer is in lower case. The comparison ignores case either way.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `strings` is empty, holds an empty string, or holds two strings that differ only in case.
    """

    strings: tuple[str, ...] = ("A", "B", "C", "D")
    try_extract_without_anchor: bool = True
    lowercase: bool = True

    def __post_init__(self) -> None:
        check_type("try_extract_without_anchor", self.try_extract_without_anchor, bool, "bool")
        check_type("lowercase", self.lowercase, bool, "bool")
        if isinstance(self.strings, str) or not isinstance(self.strings, Sequence):
            raise TypeError(f"strings is {type_name(self.strings)}, expected a tuple of str")
        for index, each in enumerate(self.strings):
            check_type(f"strings[{index}]", each, str, "str")
        folded = {each.strip().casefold() for each in self.strings}
        if not folded or "" in folded or len(folded) != len(self.strings):
            raise ValueError(f"strings is {self.strings!r}, expected different strings that are not empty")
        object.__setattr__(self, "strings", tuple(self.strings))


ExtractionTarget: TypeAlias = LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig


def parse(
    pred: str,
    extraction_config: Sequence[ExtractionTarget] = (LatexExtractionConfig(), ExprExtractionConfig()),
    fallback_mode: Literal["no_fallback", "first_match"] = "first_match",
    extraction_mode: Literal["first_match", "any_match"] = "any_match",
    parsing_timeout: int | None = 5,
    raise_on_error: bool = False,
) -> list[Answer | str]:
    """Finds the answer in a text: in a gold, or in a response.

    Args:
        pred: The text.
        extraction_config: The notations that are accepted. With `LatexExtractionConfig` alone, an answer in plain
            notation is not found. `StringExtractionConfig` stands alone.
        fallback_mode: `"first_match"` adds the extracted answer as a str to the list; `"no_fallback"` does not.
        extraction_mode: Without effect. Both modes return the one answer that the text gives: an answer that cannot be
            parsed is never replaced by another part of the text.
        parsing_timeout: Without effect. The work on a text is bounded without a clock, a signal or a process, so that
            `parse` runs in any thread.
        raise_on_error: Without effect. A text of any content is parsed without an error, and a wrong argument raises
            in both cases.

    Returns:
        `[Answer, str]`, `[Answer]` without the fallback, or an empty list if the text gives no answer.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A mode is unknown, or `extraction_config` is empty.
        NotImplementedError: `extraction_config` joins a `StringExtractionConfig` with another.

    Examples:
        >>> from thinkloom.math_verify import StringExtractionConfig, parse
        >>> parse("So the answer is $\\\\frac{1}{2}$.")
        [Answer(extracted='\\\\frac{1}{2}', kind='math', choices=()), '\\\\frac{1}{2}']
        >>> [str(found) for found in parse("The answer is B.", [StringExtractionConfig()])]
        ['b', 'B']
        >>> parse("I cannot solve this.")
        []
    """
    check_type("pred", pred, str, "str")
    targets = _targets(extraction_config)
    check_choice("fallback_mode", fallback_mode, ("no_fallback", "first_match"))
    check_choice("extraction_mode", extraction_mode, ("first_match", "any_match"))
    check_timeout("parsing_timeout", parsing_timeout)
    check_type("raise_on_error", raise_on_error, bool, "bool")
    strings = [target for target in targets if isinstance(target, StringExtractionConfig)]
    if strings and len(targets) > 1:
        raise NotImplementedError(
            "extraction_config joins StringExtractionConfig with another: whether a letter is a choice or a variable "
            "depends on the query; use one of them"
        )
    text = unicode_text(pred)
    answer = _find_string(text, *strings) if strings else _find_math(text, targets)
    if answer is None:
        return []
    # An extracted choice may be in lower case; the fallback has its spelling in the configuration.
    repeated = next((each for each in answer.choices if each.lower() == answer.extracted.lower()), answer.extracted)
    return [answer, repeated] if fallback_mode == "first_match" else [answer]


def _find_string(text: str, config: StringExtractionConfig) -> Answer | None:
    found = find_string(text, config)
    if found is None:
        return None
    return Answer(found.lower() if config.lowercase else found, text, "choice", config.strings)


def find_string(text: str, config: StringExtractionConfig) -> str | None:
    """Returns the string of `config` that a text gives as its answer, or None."""
    are_letters = all(len(each) == 1 and each in string.ascii_letters for each in config.strings)
    if are_letters:
        # A choice's letter is its place, so that the places before the last letter are filled.
        count = max(ord(each.upper()) for each in config.strings) - ord("A") + 1
        choices = list(string.ascii_uppercase[:count])
    else:
        choices = list(config.strings)
    found = thinkloom.extract(text, kind="choice", choices=choices)
    if found is None or not (config.try_extract_without_anchor or found.strategy in _ANCHORED):
        return None
    for each in config.strings:
        gold = each.upper() if are_letters else each
        # "A" is the place of "yes" in ("yes", "no"), but not an answer here.
        is_named = are_letters or each.strip().casefold() in found.text.casefold()
        if is_named and thinkloom.verify(gold, text, kind="choice", choices=choices):
            return each
    return None


def _find_math(text: str, targets: Sequence[ExtractionTarget]) -> Answer | None:
    found = thinkloom.extract(text)
    if found is None:
        # "The answer is Evelyn.": words count only where the text marks them.
        found = thinkloom.extract(text, kind="text")
        is_marked = found is not None and (found.strategy in _ANCHORED or found.strategy == "bold")
        if found is None or not (is_marked or _WORDS.fullmatch(found.text)):
            return None
    is_latex = found.strategy in _LATEX or "\\" in found.text or "$" in found.text or _in_formula(text, found.text)
    is_anchored = found.strategy in _ANCHORED
    for target in targets:
        accepts_notation = is_latex or isinstance(target, ExprExtractionConfig)
        if accepts_notation and (is_anchored or target.try_extract_without_anchor):
            extracted = _without_delimiters(found.text)
            return Answer(extracted, text, strategy=found.strategy) if extracted else None
    return None


def _in_formula(text: str, answer: str) -> bool:
    """Returns whether the last occurrence of an answer is between the delimiters of a formula."""
    before = text[: text.rfind(answer)] if answer in text else ""
    inline = before.replace("\\$", "").replace("$$", "").count("$")
    is_bracketed = any(before.rfind(start) > before.rfind(end) for start, end in (("\\(", "\\)"), ("\\[", "\\]")))
    return is_bracketed or inline % 2 == 1 or before.count("$$") % 2 == 1


def _without_delimiters(text: str) -> str:
    text = text.strip()
    for start, end in _DELIMITERS:
        content = text[len(start) : len(text) - len(end)]
        if text.startswith(start) and text.endswith(end) and content and not any(m in content for m in (start, end)):
            return content.strip()
    return text


def _targets(extraction_config: object) -> Sequence[ExtractionTarget]:
    if isinstance(extraction_config, str) or not isinstance(extraction_config, Sequence):
        raise TypeError(
            f"extraction_config is {type_name(extraction_config)}, expected a list of extraction configurations"
        )
    if not extraction_config:
        raise ValueError("extraction_config is empty, expected at least one extraction configuration")
    for index, target in enumerate(extraction_config):
        if not isinstance(target, ExtractionTarget):
            raise TypeError(
                f"extraction_config[{index}] is {type_name(target)}, expected LatexExtractionConfig, "
                "ExprExtractionConfig or StringExtractionConfig of thinkloom.math_verify"
            )
    return extraction_config
