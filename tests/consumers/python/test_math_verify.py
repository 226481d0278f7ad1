"""Tests of `thinkloom.math_verify` on the installed package: `pytest test_math_verify.py`. One test needs sympy."""

import concurrent.futures
import doctest
import importlib
import inspect
import multiprocessing
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, dataclass
from decimal import Decimal
from fractions import Fraction

import pytest

import thinkloom
from thinkloom.math_verify import (
    Answer,
    ExprExtractionConfig,
    LatexExtractionConfig,
    LatexNormalizationConfig,
    StringExtractionConfig,
    TimeoutException,
    UnverifiableError,
    math_metric,
    parse,
    verify,
)

LETTERS = StringExtractionConfig()


def texts(parsed):
    return [str(each) for each in parsed]


# The surface


def test_parse_and_verify_have_the_parameters_of_math_verify_in_order():
    parameters = inspect.signature(parse).parameters
    assert list(parameters) == [
        "pred",
        "extraction_config",
        "fallback_mode",
        "extraction_mode",
        "parsing_timeout",
        "raise_on_error",
    ]
    assert list(parameters["extraction_config"].default) == [LatexExtractionConfig(), ExprExtractionConfig()]
    assert [each.default for each in parameters.values()][2:] == ["first_match", "any_match", 5, False]
    parameters = inspect.signature(verify).parameters
    assert {name: each.default for name, each in parameters.items() if name not in ("gold", "target")} == {
        "float_rounding": 6,
        "numeric_precision": 15,
        "strict": True,
        "allow_set_relation_comp": False,
        "timeout_seconds": 5,
        "raise_on_error": False,
    }
    assert list(parameters)[:4] == ["gold", "target", "float_rounding", "numeric_precision"]
    parameters = inspect.signature(math_metric).parameters
    assert list(parameters) == ["gold_extraction_target", "pred_extraction_target", "aggregation_function", "precision"]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "parser",
            ["ExprExtractionConfig", "ExtractionTarget", "LatexExtractionConfig", "StringExtractionConfig", "parse"],
        ),
        ("parser", ["NormalizationConfig"]),
        ("grader", ["verify"]),
        ("metric", ["math_metric"]),
        ("errors", ["TimeoutException"]),
    ],
)
def test_the_modules_that_reward_functions_import_have_their_names(module, names):
    found = importlib.import_module(f"thinkloom.math_verify.{module}")
    assert all(hasattr(found, name) for name in names)


@pytest.mark.parametrize("module", ["", ".parser", ".grader", ".metric", ".errors"])
def test_the_examples_of_the_docstrings_run(module):
    found = doctest.testmod(importlib.import_module(f"thinkloom.math_verify{module}"))
    assert found.failed == 0


def test_the_package_imports_neither_sympy_nor_math_verify():
    code = (
        "import sys, thinkloom.math_verify as m; m.verify('1/2', '0.5'); "
        "print([name for name in ('sympy', 'math_verify', 'latex2sympy2_extended') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


# What parse returns


def test_parse_returns_the_answer_and_its_text():
    found = parse("Thus the total is \\boxed{\\frac{3}{4}}.")
    assert found == [Answer("\\frac{3}{4}", "another text"), "\\frac{3}{4}"]
    assert found[0].text == "Thus the total is \\boxed{\\frac{3}{4}}."
    assert found[0].kind == "math"


def test_parse_without_the_fallback_returns_the_answer_alone():
    assert parse("The answer is $7$.", fallback_mode="no_fallback") == [Answer("7", "")]


@pytest.mark.parametrize("text", ["", "I cannot solve this.", "No idea"])
def test_parse_of_a_text_without_an_answer_is_empty(text):
    assert parse(text) == []
    assert verify(parse("5"), parse(text)) is False
    assert verify(parse(text), parse("5")) is False


def test_half_a_surrogate_pair_is_no_error():
    assert texts(parse("\ud83d The answer is 5.")) == ["5", "5"]
    assert verify("Evelyn\ud83d", "Evelyn") is False


def test_an_answer_is_frozen_hashable_and_picklable():
    answer = parse("So $x = 5$.")[0]
    with pytest.raises(FrozenInstanceError):
        answer.extracted = "6"
    copy = pickle.loads(pickle.dumps(answer))
    assert (copy, hash(copy), copy.text) == (answer, hash(answer), answer.text)
    assert len({parse("$\\frac12$")[0], parse("The answer is $\\frac12$.")[0], parse("$2$")[0]}) == 2


def test_answers_of_another_kind_or_other_choices_differ():
    assert parse("A", [LETTERS])[0] != Answer("a", "A")
    assert Answer("a", "", "choice", ("A", "B")) != Answer("a", "", "choice", ("A", "C"))


# Verdicts


@pytest.mark.parametrize(
    ("gold", "response"),
    [
        ("3/4", "The answer is $0.75$."),
        ("$\\frac{3}{4}$", "$1/2 + 1/4$"),
        ("$\\{1,3\\} \\cup \\{2,4\\}$", "$\\{1,2,3,4\\}$"),
        ("$1$", "$x=1$"),
        ("$x=1$", "$1$"),
        ("$1 < x < 2$", "$(1,2)$"),
        ("The answer is $12$.", "So we get \\boxed{12}."),
        ("\\boxed{14}", "Final Answer: The final answer is $14$. I hope it is correct."),
        ("$\\text{even}$", "The answer is even."),
        ("#### 72", "She sold **72** clips."),
        ("She sold 72 clips.", "72"),
        ("The value is $5$ meters.", "5 m"),
        ("\\text{Evelyn}", "**Evelyn** has the greatest speed."),
        ("\\boxed{E(X)=2, \\operatorname{Var}(X)=3}", "\\boxed{E(X)=2,\\ Var(X)=3}"),
    ],
)
def test_verify_accepts_an_equal_answer(gold, response):
    assert verify(parse(gold), parse(response)) is True


@pytest.mark.parametrize(
    ("gold", "response"),
    [
        ("3/4", "The answer is $0.76$."),
        ("$2x + z = 1$", "$1$"),
        ("$7 = 11a+c$", "$11a+c$"),
        ("34", "The answer is 12, not 34."),
        ("$f(x)$", "$f(y)$"),
        ("$\\{1,2\\}$", "$(1,2)$"),
        ("$9$", "See equation (9)."),
        (
            "concave up on $(-\\infty,-1)$ and $(0,\\infty)$",
            "\\boxed{\\text{concave down on }(-\\infty,-1)\\text{ and }(0,\\infty)}",
        ),
    ],
)
def test_verify_rejects_another_answer(gold, response):
    assert verify(parse(gold), parse(response)) is False


def test_the_gold_comes_first():
    gold, chain = parse("$101$"), parse("$a+2z = 2z + a = 101$")
    assert verify(gold, chain) is True
    assert verify(chain, gold) is False


def test_verify_takes_results_of_parse_single_values_and_str():
    for gold in (parse("3/4"), parse("3/4")[0], "3/4", 0.75, Fraction(3, 4), Decimal("0.75"), ["5", Fraction(3, 4)]):
        for target in (parse("\\boxed{0.75}"), parse("\\boxed{0.75}")[0], "It is $0.75$.", 0.75, [1, "3/4"]):
            assert verify(gold, target) is True, (gold, target)
    assert verify(5, "The answer is 5.") is True
    assert verify(10**30, "1" + "0" * 30) is True
    assert verify(float("inf"), "$\\infty$") is True
    assert verify(Decimal("1E+3"), "1000") is True
    assert verify(["1", "2"], "3") is False
    assert verify([Answer("x", "x"), "X"], "$X$") is True
    assert verify("Evelyn", "The answer is Evelyn.") is True
    assert verify([], "3") is False


def test_an_answer_that_the_drop_in_finds_is_judged_as_thinkloom_judges_it():
    response = "The roots are $1$ and $2$."
    assert verify(parse("2"), parse(response)) is bool(thinkloom.verify("2", response, evaluated="any"))


# Configurations


def test_latex_alone_accepts_no_plain_notation():
    only_latex = [LatexExtractionConfig()]
    assert parse("42", only_latex) == [] and parse("The answer is 42.", only_latex) == []
    for text in ("$42$", "\\boxed{42}", "The answer is \\(42\\).", "Answer: \\[\n42\n\\]", "It costs \\$3, so $42$."):
        assert texts(parse(text, only_latex)) == ["42", "42"], text
    assert texts(parse("The answer is 42.", [ExprExtractionConfig()])) == ["42", "42"]
    assert texts(parse("\\boxed{42}", [ExprExtractionConfig()])) == ["42", "42"]


@pytest.mark.parametrize(
    "configs",
    [
        [LatexExtractionConfig(try_extract_without_anchor=False)],
        (ExprExtractionConfig(try_extract_without_anchor=False),),
    ],
)
def test_an_anchor_is_required_where_the_configuration_says_so(configs):
    assert parse("We get $42$", configs) == []
    assert texts(parse("The answer is $42$.", configs)) == ["42", "42"]
    assert texts(parse("Hence \\boxed{42}.", configs)) == ["42", "42"]


def test_a_normalization_of_another_package_is_taken_by_its_fields():
    @dataclass(frozen=True)
    class NormalizationConfig:
        basic_latex: bool = True
        units: bool = False
        malformed_operators: bool = False
        nits: bool = False
        boxed: str = "all"
        equations: bool = False

    config = LatexExtractionConfig(normalization_config=NormalizationConfig(units=True), boxed_match_priority=0)
    assert verify(parse("5 cm"), parse("\\boxed{5}", [config])) is True
    with pytest.raises(NotImplementedError, match=r"normalization_config\.boxed='none'"):
        LatexExtractionConfig(normalization_config=NormalizationConfig(boxed="none"))


@pytest.mark.parametrize(
    ("response", "config", "expected"),
    [
        ("The answer is B.", LETTERS, ["b", "B"]),
        ("The answer is B.", StringExtractionConfig(lowercase=False), ["B", "B"]),
        ("A. Because B is not valid", LETTERS, ["a", "A"]),
        ("The answer is F.", LETTERS, []),
        ("The answer is A.", StringExtractionConfig(strings=("B", "C")), []),
        ("The answer is C.", StringExtractionConfig(strings=("C", "B")), ["c", "C"]),
        ("The answer is yes.", StringExtractionConfig(strings=("yes", "no")), ["yes", "yes"]),
        ("The answer is A.", StringExtractionConfig(strings=("yes", "no")), []),
        ("I doubt it.", LETTERS, []),
        ("**B**", StringExtractionConfig(try_extract_without_anchor=False), []),
    ],
)
def test_one_of_several_strings_is_found(response, config, expected):
    assert texts(parse(response, [config])) == expected


def test_choices_are_compared_by_their_string():
    for gold in (parse("B", [LETTERS]), "B", "(B)", parse("b", [StringExtractionConfig(lowercase=False)])):
        assert verify(gold, parse("The answer is (B).", [LETTERS])) is True, gold
        assert verify(gold, parse("The answer is C.", [LETTERS])) is False, gold
    assert verify(parse("B", [LETTERS]), "So the answer is B.") is True
    assert verify(parse("B", [LETTERS]), parse("\\boxed{7}")) is False


# Errors by name


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: parse(None), TypeError, "pred is NoneType, expected str"),
        (lambda: parse(5), TypeError, "pred is int, expected str"),
        (lambda: parse("5", LatexExtractionConfig()), TypeError, "extraction_config is .*LatexExtractionConfig"),
        (lambda: parse("5", [None]), TypeError, r"extraction_config\[0\] is NoneType"),
        (lambda: parse("5", []), ValueError, "extraction_config is empty"),
        (lambda: parse("5", [LatexExtractionConfig(), LETTERS]), NotImplementedError, "joins StringExtractionConfig"),
        (lambda: parse("5", fallback_mode="none"), ValueError, "fallback_mode is 'none'"),
        (lambda: parse("5", extraction_mode="all"), ValueError, "extraction_mode is 'all'"),
        (lambda: parse("5", parsing_timeout="5"), TypeError, "parsing_timeout is str"),
        (lambda: parse("5", raise_on_error=1), TypeError, "raise_on_error is int, expected bool"),
        (lambda: verify(None, "5"), TypeError, "gold is NoneType"),
        (lambda: verify("5", ["5", {}]), TypeError, r"target\[1\] is dict"),
        (lambda: verify(True, "1"), TypeError, "gold is bool"),
        (lambda: verify(("5",), "5"), TypeError, "gold is tuple"),
        (lambda: verify(b"5", "5"), TypeError, "gold is bytes"),
        (lambda: verify(1 + 2j, "5"), TypeError, "gold is complex"),
        (lambda: verify(float("nan"), "5"), ValueError, "gold is nan"),
        (lambda: verify("5", Decimal("nan")), ValueError, "target is nan"),
        (lambda: verify(10**5000, "5"), ValueError, "gold has too many digits"),
        (lambda: verify("5", Decimal("snan")), ValueError, "target is nan"),
        (lambda: verify("5", "5", float_rounding=3), NotImplementedError, "float_rounding=3"),
        (lambda: verify("5", "5", numeric_precision=5), NotImplementedError, "numeric_precision=5"),
        (lambda: verify("5", "5", strict=False), NotImplementedError, "strict=False"),
        (lambda: verify("5", "5", timeout_seconds="5"), TypeError, "timeout_seconds is str"),
        (lambda: verify("5", "5", tolerance=1), TypeError, "tolerance"),
        (lambda: LatexExtractionConfig(boxed_match_priority=-1), NotImplementedError, "boxed_match_priority=-1"),
        (lambda: LatexExtractionConfig(boxed_match_priority=100), NotImplementedError, "boxed_match_priority=100"),
        (lambda: LatexExtractionConfig(try_extract_without_anchor=1), TypeError, "try_extract_without_anchor is int"),
        (lambda: LatexExtractionConfig(normalization_config=None), TypeError, "normalization_config is NoneType"),
        (lambda: LatexNormalizationConfig(boxed="none"), NotImplementedError, "boxed='none'"),
        (lambda: StringExtractionConfig(strings="ABCD"), TypeError, "strings is str"),
        (lambda: StringExtractionConfig(strings=("A", 1)), TypeError, r"strings\[1\] is int"),
        (lambda: StringExtractionConfig(strings=()), ValueError, "strings is"),
        (lambda: StringExtractionConfig(strings=("a", "A")), ValueError, "strings is"),
        (lambda: math_metric(precision=3), NotImplementedError, "float_rounding=3"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("seconds", [None, 0, 1, 0.5, -1])
def test_every_timeout_is_accepted(seconds):
    assert verify(parse("5", parsing_timeout=seconds), parse("$5$"), timeout_seconds=seconds) is True


def test_a_comparison_without_a_verdict_raises_only_on_demand():
    gold, answer = parse("2^{10000000}"), parse("\\boxed{2^{10000000}+1}")
    assert verify(gold, answer) is False
    with pytest.raises(TimeoutException, match="over_budget") as caught:
        verify(gold, answer, raise_on_error=True)
    assert isinstance(caught.value, thinkloom.ThinkloomError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is TimeoutException and copy.verdict == caught.value.verdict
    gold, answer = parse("$\\int_0^1 e^{x^3} dx$"), parse("\\boxed{\\int_1^2 e^{x^3} dx}")
    assert verify(gold, answer) is False
    with pytest.raises(UnverifiableError) as caught:
        verify(gold, answer, raise_on_error=True)
    assert caught.value.verdict.verdict == "unverifiable"
    assert not isinstance(caught.value, TimeoutException)
    assert verify([*gold, "5"], "5", raise_on_error=True) is True


# Expressions of sympy


def test_golds_built_with_sympy_are_compared_by_their_latex():
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x")
    for gold, response in [
        (sympy.Rational(1, 3), "\\boxed{\\frac{1}{3}}"),
        (sympy.Integer(5), "5"),
        (sympy.FiniteSet(1, 2), "\\boxed{2, 1}"),
        (sympy.Interval.open(0, 1), "$(0, 1)$"),
        (sympy.Matrix([[1, 2], [3, 4]]), "$\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}$"),
        (sympy.sqrt(2) + sympy.pi, "$\\pi+\\sqrt{2}$"),
        (x**2 + 1, "$1 + x^2$"),
        ([sympy.Integer(4), sympy.Integer(5)], "5"),
    ]:
        assert verify(gold, parse(response)) is True, (gold, response)
        assert verify(parse(response), gold) is True, (gold, response)
    assert verify(x**2 + 1, parse("$1 - x^2$")) is False


def test_an_object_that_only_looks_like_sympy_is_a_type_error():
    class Basic:
        pass

    with pytest.raises(TypeError, match=r"gold is .*Basic"):
        verify(Basic(), "5")


# Reward functions in the shapes that trainers use


def accuracy_reward(completions, solution, **_):
    rewards = []
    for completion, gold in zip(completions, solution, strict=True):
        parsed = parse(gold)
        if not parsed:
            rewards.append(None)
            continue
        config = LatexExtractionConfig(
            normalization_config=LatexNormalizationConfig(units=True),
            boxed_match_priority=0,
            try_extract_without_anchor=False,
        )
        answer = parse(completion[0]["content"], extraction_config=[config], extraction_mode="first_match")
        rewards.append(float(verify(parsed, answer)))
    return rewards


def test_a_reward_function_as_trl_writes_it_runs():
    contents = ["So it is \\boxed{\\frac{63}{400}}.", "\\boxed{\\frac{64}{400}}", "It is 63/400", "\\boxed{5}"]
    completions = [[{"role": "assistant", "content": content}] for content in contents]
    solution = ["$\\frac{63}{400}$"] * 3 + ["no answer at all"]
    assert accuracy_reward(completions, solution) == [1.0, 0.0, 0.0, None]


def test_a_reward_function_as_verl_writes_it_runs():
    def compute_score(model_output, ground_truth, timeout_score=0.0):
        try:
            golds = parse("\\boxed{" + ground_truth + "}", (LatexExtractionConfig(),))
            answers = parse(model_output, (ExprExtractionConfig(), LatexExtractionConfig()))
            if golds and answers:
                return max(1.0 if any(verify(gold, answer) for gold in golds) else 0.0 for answer in answers)
        except TimeoutException:
            return timeout_score
        return 0.0

    assert compute_score("Therefore x = 5.", "5") == 1.0
    assert compute_score("Therefore x = 6.", "5") == 0.0
    assert compute_score("I give up", "5") == 0.0


def test_the_metric_scores_predictions_and_shows_what_it_read():
    score = math_metric((LatexExtractionConfig(),), (ExprExtractionConfig(), LatexExtractionConfig()))
    assert score(["\\boxed{0.5}"], ["So it is 1/2.", "\\boxed{7}"]) == (1.0, (["0.5", "0.5"], ["1/2", "1/2", "7", "7"]))
    assert score(["\\boxed{0.5}"], ["no answer"]) == (0.0, (["0.5", "0.5"], []))
    with pytest.raises(ValueError, match=r"golds\[1\] gives no answer"):
        score(["\\boxed{0.5}", "none"], ["5"])
    assert math_metric(aggregation_function=min)(["5"], ["5", "6"])[0] == 0.0


# Threads, processes, signals


def judge(_):
    gold = parse("$\\frac{1}{\\sqrt{2}}$")
    return verify(gold, parse("\\boxed{\\frac{\\sqrt2}{2}}")), verify(gold, parse("\\boxed{\\frac{\\sqrt3}{2}}"))


def test_sixteen_threads_give_the_verdicts_of_one():
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(judge, range(320))) == {(True, False)}


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_a_process_gives_the_verdicts_of_its_parent(method):
    assert judge(0) == (True, False)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert set(pool.map(judge, range(16))) == {(True, False)}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the platform has no alarm")
def test_neither_a_signal_handler_nor_an_alarm_is_touched():
    def handler(*_):
        raise AssertionError("no alarm was asked for")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 500)
    try:
        assert judge(0) == (True, False)
        thread = threading.Thread(target=judge, args=(0,))
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGALRM) is handler
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
