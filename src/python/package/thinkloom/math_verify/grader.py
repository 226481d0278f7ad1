"""Compares an answer with its gold: `verify`."""

import itertools
import math
import numbers
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import thinkloom

from ._checks import check_timeout, check_type, type_name, unicode_text
from .errors import TimeoutException, UnverifiableError
from .parser import Answer, StringExtractionConfig, find_string, parse

__all__ = ["verify"]

# Longer golds are worked solutions, of which only the answer is compared.
_GOLD_CHARS_MAX = 400
# Sympy's expressions are accepted too; sympy is no dependency, so that a type for them would be Any.
Item: TypeAlias = Any


def verify(
    gold: list[Item] | Item,
    target: list[Item] | Item,
    float_rounding: int = 6,
    numeric_precision: int = 15,
    strict: bool = True,
    allow_set_relation_comp: bool = False,
    timeout_seconds: int | None = 5,
    raise_on_error: bool = False,
) -> bool:
    """Returns whether an answer equals its gold.

    The gold comes first: its type decides the comparison, so that `x = 1` meets the gold `1`, but `1` does not meet
    the gold `2x + z = 1`. Arithmetic may be left undone (`1/2 + 1/4` meets `3/4`), as in math-verify;
    `thinkloom.verify` with `evaluated="required"` rejects it.

    Args:
        gold: The reference: a result of `parse`, or a str, an int, a float, a `Fraction`, a `Decimal`, an expression of
            sympy, or a list of these. If it is a list, one match suffices.
        target: The answer, of the same types. A str is parsed.
        float_rounding: 6. Without effect: a decimal answer with at least four decimals equals an exact gold that
            rounds to it, and an answer equals a decimal gold that it rounds to.
        numeric_precision: 15 or more. Without effect: exact values are compared exactly.
        strict: True. Names of variables count, and a set is no tuple.
        allow_set_relation_comp: Without effect. An inequality solved for its variable equals the set of its solutions
            on both sides; an unsolved one, such as `x^2 < 4`, does not.
        timeout_seconds: Without effect. Each comparison is bounded without a clock, a signal or a process, so that
            `verify` runs in any thread.
        raise_on_error: If True, a comparison that has no verdict raises; if False, its result is False.

    Returns:
        True only for the verdict `correct`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is no number (nan), or has too many digits.
        NotImplementedError: `float_rounding`, `numeric_precision` or `strict` has another value than above.
        TimeoutException: With `raise_on_error`: the comparison exceeded its bounds.
        UnverifiableError: With `raise_on_error`: the comparison has no verdict for another cause.

    Examples:
        >>> from thinkloom.math_verify import parse, verify
        >>> gold = parse("$\\\\{1, 2, 3\\\\}$")
        >>> answer = parse("The solutions are \\\\boxed{3, 2, 1}.")
        >>> verify(gold, answer)
        True
        >>> verify(parse("$1$"), parse("$x = 1$")), verify(parse("$2x + z = 1$"), parse("$1$"))
        (True, False)
    """
    _check_settings(float_rounding, numeric_precision, strict, allow_set_relation_comp)
    check_timeout("timeout_seconds", timeout_seconds)
    check_type("raise_on_error", raise_on_error, bool, "bool")
    golds = list(_items("gold", gold))
    targets = list(_items("target", target))
    unverifiable: thinkloom.Verdict | None = None
    for each_gold, each_target in itertools.product(golds, targets):
        if each_gold.kind == "choice" or each_target.kind == "choice":
            if _is_same_choice(each_gold, each_target):
                return True
            continue
        verdict = thinkloom.verify(_gold_text(each_gold), each_target.text, evaluated="any")
        if verdict:
            return True
        if verdict.verdict == "unverifiable" and unverifiable is None:
            unverifiable = verdict
    if raise_on_error and unverifiable is not None:
        is_over = unverifiable.reason == "over_budget"
        raise TimeoutException(unverifiable) if is_over else UnverifiableError(unverifiable)
    return False


def _gold_text(gold: Answer) -> str:
    """Returns the text to compare a response with: the whole gold, or the answer that it announces or mentions."""
    if gold.strategy in ("final_answer", "answer_is"):
        return gold.extracted
    if gold.strategy in ("whole", "boxed", "hash_mark"):
        return gold.text  # thinkloom reads the box or the text after #### itself
    if len(gold.text) <= _GOLD_CHARS_MAX:
        # The reason of any verdict shows how thinkloom reads the gold.
        reason = thinkloom.verify(gold.text, "\\boxed{0}", evaluated="any").reason
        has_several = gold.text.count("$") > 2 or gold.text.count("\\(") > 1
        # Of a sentence with several formulas, such as "up on $A$ and $B$", the last alone would accept a wrong answer.
        if reason != "unreadable_gold" and (has_several or not reason.endswith(":statement_differs")):
            return gold.text
    return gold.extracted


def _is_same_choice(gold: Answer, target: Answer) -> bool:
    """Compares two answers of which at least one is a choice; a text beside it is read with the same strings."""
    config = StringExtractionConfig(gold.choices or target.choices)
    read = [each.extracted if each.kind == "choice" else find_string(each.text, config) for each in (gold, target)]
    return read[0] is not None and read[1] is not None and read[0].casefold() == read[1].casefold()


def _items(name: str, value: object) -> Iterator[Answer]:
    if not isinstance(value, list):
        yield _item(name, value)
        return
    # The str that `parse` adds to its answer repeats the answer; of a choice, the case may differ.
    answers = [each for each in value if isinstance(each, Answer)]
    repeated = {each.extracted for each in answers}
    repeated |= {choice for each in answers for choice in each.choices if choice.lower() == each.extracted.lower()}
    for index, each in enumerate(value):
        if not (isinstance(each, str) and each in repeated):
            yield _item(f"{name}[{index}]", each)


def _item(name: str, value: object) -> Answer:
    if isinstance(value, Answer):
        return value
    if isinstance(value, str):
        found = next(iter(parse(value)), None)
        # A gold in words, such as "Evelyn", has no answer that stands out.
        return found if isinstance(found, Answer) else Answer(unicode_text(value), unicode_text(value))
    formula = _sympy_latex(value)
    text = _number(name, value) if formula is None else f"${formula}$"
    return Answer(text, text)


def _sympy_latex(value: object) -> str | None:
    """Returns the LaTeX of an expression of sympy. Only a caller that has imported sympy can have one."""
    sympy = sys.modules.get("sympy")
    # Another thread may be importing it.
    types = tuple(getattr(sympy, each) for each in ("Basic", "MatrixBase") if hasattr(sympy, each))
    return str(sys.modules["sympy"].latex(value)) if isinstance(value, types) else None


def _number(name: str, value: object) -> str:
    if isinstance(value, Decimal):
        is_nan, is_finite = value.is_nan(), value.is_finite()
    elif isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name} is {type_name(value)}, expected the result of parse, a str, an int, a float, a Fraction, "
            "a Decimal, or an expression of sympy"
        )
    elif isinstance(value, numbers.Rational):
        try:
            return str(Fraction(int(value.numerator), int(value.denominator)))
        except ValueError as error:  # Python bounds the digits that it converts
            raise ValueError(f"{name} has too many digits: {error}") from error
    else:
        value = float(value)
        is_nan, is_finite = math.isnan(value), math.isfinite(value)
    if is_nan:
        raise ValueError(f"{name} is nan, expected a number")
    text = str(value)
    return text if is_finite else "-\\infty" if text.startswith("-") else "\\infty"


def _check_settings(float_rounding: object, numeric_precision: object, strict: object, sets: object) -> None:
    check_type("float_rounding", float_rounding, int, "int")
    check_type("numeric_precision", numeric_precision, int, "int")
    check_type("strict", strict, bool, "bool")
    check_type("allow_set_relation_comp", sets, bool, "bool")
    if float_rounding != 6:
        raise NotImplementedError(
            f"float_rounding={float_rounding} is not supported: a decimal is compared by its own number of decimals; "
            "use 6"
        )
    if isinstance(numeric_precision, int) and numeric_precision < 15:
        raise NotImplementedError(
            f"numeric_precision={numeric_precision} is not supported: values are compared exactly; use 15 or more"
        )
    if not strict:
        raise NotImplementedError(
            "strict=False is not supported: the names of variables count, and a set is no tuple; use strict=True"
        )
