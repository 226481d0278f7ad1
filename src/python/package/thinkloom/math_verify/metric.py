"""Scores predictions against golds, extraction included: `math_metric`."""

import logging
from collections.abc import Callable, Sequence

from .grader import verify
from .parser import ExprExtractionConfig, ExtractionTarget, parse

__all__ = ["math_metric"]

logger = logging.getLogger(__name__)


def math_metric(
    gold_extraction_target: Sequence[ExtractionTarget] = (ExprExtractionConfig(),),
    pred_extraction_target: Sequence[ExtractionTarget] = (ExprExtractionConfig(),),
    aggregation_function: Callable[[list[float]], float] = max,
    precision: int = 6,
) -> Callable[[list[str], list[str]], tuple[float, tuple[list[str], list[str]] | None]]:
    """Returns a function that scores predictions against golds.

    Args:
        gold_extraction_target: The configurations with which `parse` reads the golds.
        pred_extraction_target: The configurations with which `parse` reads the predictions.
        aggregation_function: Combines the scores of the predictions, 1.0 or 0.0 each.
        precision: 6, see `float_rounding` of `verify`.

    Returns:
        A function of (golds, predictions), two lists of str. It returns the score, and the extracted golds and
        predictions. A prediction scores 1.0 if it equals one of the golds. A gold without an answer raises ValueError.

    Raises:
        NotImplementedError: `precision` is not 6.

    Examples:
        >>> from thinkloom.math_verify import ExprExtractionConfig, LatexExtractionConfig, math_metric
        >>> score = math_metric((LatexExtractionConfig(),), (ExprExtractionConfig(), LatexExtractionConfig()))
        >>> score(["\\\\boxed{0.5}"], ["So the probability is 1/2."])[0]
        1.0
    """
    # Reports a value that `verify` rejects before the first prediction.
    verify([], [], precision)

    def score(golds: list[str], predictions: list[str]) -> tuple[float, tuple[list[str], list[str]] | None]:
        read_golds = [parse(gold, gold_extraction_target) for gold in golds]
        read_predictions = [parse(prediction, pred_extraction_target) for prediction in predictions]
        for index, found in enumerate(read_golds):
            if not found:
                raise ValueError(f"golds[{index}] gives no answer: {golds[index]!r}")
        if not any(read_predictions):
            logger.warning("no prediction gives an answer in the accepted notations; golds: %r", golds)
        scores = [
            1.0 if any(verify(gold, prediction, precision) for gold in read_golds) else 0.0
            for prediction in read_predictions
        ]
        extracted = (
            [str(each) for found in read_golds for each in found],
            [str(each) for found in read_predictions for each in found],
        )
        return aggregation_function(scores), extracted

    return score
