"""A drop-in for math-verify 0.9.0: change `from math_verify import ...` to `from thinkloom.math_verify import ...`.

`parse`, `verify`, `math_metric` and the extraction configurations have math-verify's signatures, and are also found in
the modules `parser`, `grader`, `metric` and `errors`. The verdicts are thinkloom's; the guide lists where they differ,
and why.

- Every call is bounded without signals, runs in any thread or process, and releases the interpreter's lock. Timeouts
  are accepted and have no effect.
- `parse` returns `[Answer, str]`, not an expression of sympy. Pass its result to `verify`, or use `str()` of it.
- An argument or a value that cannot be honoured raises an error that names it.
- A wrong type raises TypeError, also where math-verify returns an empty list or False.

Examples:
    >>> from thinkloom.math_verify import parse, verify
    >>> verify(parse("3/4"), parse("The probability is $\\\\frac{3}{4}$."))
    True
"""

from .errors import TimeoutException, UnverifiableError
from .grader import verify
from .metric import math_metric
from .parser import (
    Answer,
    ExprExtractionConfig,
    LatexExtractionConfig,
    StringExtractionConfig,
    parse,
)
from .parser import NormalizationConfig as LatexNormalizationConfig

__all__ = [
    "Answer",
    "ExprExtractionConfig",
    "LatexExtractionConfig",
    "LatexNormalizationConfig",
    "StringExtractionConfig",
    "TimeoutException",
    "UnverifiableError",
    "math_metric",
    "parse",
    "verify",
]
