r"""Hybrid-reasoning training data: verifiers, HiPO's reward, and the tables of a run.

    >>> import thinkloom
    >>> thinkloom.verify(r"\frac{1}{2}", "Half of it, so the answer is 0.5.")
    Verdict(verdict='correct', extracted='0.5', reason='answer_is:rational_equal')

Every function runs on any thread and in any process, forked or spawned. It releases the interpreter's lock while it
computes, is bounded in time and memory for any input, and uses no signal. The command `thinkloom` comes with the package.

The modules `thinkloom.trl`, `thinkloom.verl`, `thinkloom.openrlhf` and `thinkloom.verifiers` connect trainers;
`thinkloom.math_verify` takes the place of math-verify.
"""

import atexit

from thinkloom._dedup import dedup
from thinkloom._reward import reward
from thinkloom._thinkloom import (
    Extracted,
    Run,
    StructuredResponse,
    Table,
    ThinkloomError,
    Verdict,
    __version__,
    close,
    extract,
    parse,
    render,
    verify,
    verify_batch,
    verify_code,
    verify_code_batch,
)

atexit.register(close)
del atexit, close

__all__ = [
    "Extracted",
    "Run",
    "StructuredResponse",
    "Table",
    "ThinkloomError",
    "Verdict",
    "__version__",
    "dedup",
    "extract",
    "parse",
    "render",
    "reward",
    "verify",
    "verify_batch",
    "verify_code",
    "verify_code_batch",
]
