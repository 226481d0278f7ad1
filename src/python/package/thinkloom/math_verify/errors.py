"""What `verify(..., raise_on_error=True)` raises for a comparison that has no verdict."""

from thinkloom import ThinkloomError, Verdict

__all__ = ["TimeoutException", "UnverifiableError"]


class UnverifiableError(ThinkloomError):
    """A gold and an answer could be neither confirmed nor refuted.

    Attributes:
        verdict: The verdict `unverifiable`; its `reason` is the cause, for example `unreadable_gold`.
    """

    verdict: Verdict

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"the comparison is unverifiable: {verdict.reason}")
        self.verdict = verdict

    def __reduce__(self) -> tuple[type["UnverifiableError"], tuple[Verdict]]:
        # Without it, pickle would pass the message in place of the verdict.
        return type(self), (self.verdict,)


class TimeoutException(UnverifiableError):  # noqa: N818 - the name that reward functions import
    """A comparison exceeded the bounds on its work: the verdict `over_budget`.

    Nothing is timed: the bounds count terms, digits and steps, so that a comparison ends alike on every machine. Unlike
    math-verify's class of this name, it is an `Exception`: a handler for every error also handles this one.
    """
