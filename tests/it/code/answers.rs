//! Tests which programs count as correct, and which only pretend to be.

use serde_json::{Value, json};

use super::{Bench, assert_reasons, case};

const PROMPT: &str = "from typing import List\n\n\ndef helper(x):\n    return x * 2\n\n\ndef double(xs: List[int]) -> \
                      List[int]:\n    \"\"\" Doubles.\n    >>> double([1])\n    [2]\n    \"\"\"\n";
const CHECK: &str = "\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n    assert candidate([]) == []\n";

fn with(response: &str, fields: &Value) -> Value {
    let mut case = json!({"id": 0, "kind": "code", "response": response});
    let object = case.as_object_mut().unwrap();
    object.extend(fields.as_object().unwrap().clone());
    case
}

#[test]
fn programs_of_every_shape_of_tests_and_responses_pass() {
    let bench = Bench::new();
    let asserts = json!({"tests": ["assert f(1) == 2", "assert f(2) == 3"]});
    let whole = json!({"tests": "def check(candidate):\n    assert candidate(1) == 2\n\n\ncheck(f)\n"});
    let humaneval = json!({"tests": CHECK, "entry_point": "double", "question": PROMPT});
    let imports = json!({"tests": ["assert math.isclose(f(1), 2)"], "test_imports": ["import math"]});
    let add = "def f(x):\n    return x + 1\n";
    let fenced = format!("Sure.\n```python\n{add}```\nThis adds one.");
    let double = "def double(xs: List[int]) -> List[int]:\n    return [helper(x) for x in xs]";
    let streams =
        json!({"tests": [{"input": "1 2\n", "output": "3"}, {"inputs": ["5 5", ["2 2"]], "outputs": [10, "4 "]}]});
    let sum = "a, b = map(int, input().split())\nprint(a + b)";
    let expected = [
        ("code_block:tests_passed", with(&fenced, &asserts)),
        ("code_block:tests_passed", with(&fenced, &whole)),
        ("code_block:tests_passed", with(&fenced, &imports)),
        ("whole:tests_passed", with(add, &asserts)),
        (
            "code_lines:tests_passed",
            with(&format!("Here you are:\n\n{add}\nThis adds one, as asked: see above."), &asserts),
        ),
        // The last block that defines what is called; what it lacks comes from an earlier one; others are examples.
        (
            "code_block:tests_passed",
            with(
                "```python\ndef f(x):\n    return 0\n```\nno:\n```python\ndef one():\n    return 1\n```\n\
                     ```py\ndef f(x):\n    return x + one()\n```\nUse it:\n```python\nprint(f(1))\n```\n```bash\nrm -r /\n```",
                &asserts,
            ),
        ),
        // HumanEval: the body, with or without the indentation of its first line, or the whole function.
        ("continuation:tests_passed", with("    return [helper(x) for x in xs]\n", &humaneval)),
        (
            "continuation:tests_passed",
            with("result = []\n    for x in xs:\n        result.append(2 * x)\n    return result", &humaneval),
        ),
        ("continuation:tests_passed", with("```python\nreturn [2 * x for x in xs]\n```", &humaneval)),
        ("code_block:tests_passed", with(&format!("```python\n{double}\n```"), &humaneval)),
        (
            "code_block:tests_passed",
            with(&format!("```python\n{PROMPT}    return [x + x for x in xs]\n```"), &humaneval),
        ),
        ("whole:tests_passed", with(double, &humaneval)),
        // Programs that read their input; they may leave as they like.
        ("code_block:outputs_equal", with(&format!("```python\n{sum}\n```"), &streams)),
        ("code_block:outputs_equal", with(&format!("```python\nimport sys\n{sum}\nsys.exit(0)\n```"), &streams)),
        (
            "code_block:outputs_equal",
            with(&format!("```python\nif __name__ == '__main__':\n    {}\n```", sum.replace('\n', "\n    ")), &streams),
        ),
        // A function may be called like a built-in, if it is the one that is asked for.
        ("code_block:tests_passed", case("def sum(a, b):\n    return a + b", &json!(["assert sum(10, 15) == 25"]))),
        (
            "code_block:tests_passed",
            case("class P:\n    def __init__(self, x):\n        self.x = x", &json!(["assert P(3).x == 3"])),
        ),
    ];
    assert_reasons(&bench, &expected, &[]);
}

#[test]
fn what_goes_wrong_in_a_program_is_told_apart() {
    let bench = Bench::new();
    let tests = json!(["assert f(1) == 2"]);
    let streams = json!({"tests": [{"input": "1", "output": "2"}]});
    let expected = [
        ("code_block:test_failed", case("def f(x):\n    return x", &tests)),
        ("code_block:exception:ZeroDivisionError", case("def f(x):\n    return x / 0", &tests)),
        ("code_block:exception:NameError", case("def g(x):\n    return 2", &tests)),
        ("code_block:exception:Odd", case("class Odd(Exception):\n    pass\nraise Odd", &tests)),
        ("code_block:exception:ModuleNotFoundError", case("import no_such_module_anywhere", &tests)),
        ("code_block:exception:RecursionError", case("def f(x):\n    return f(x)", &tests)),
        ("code_block:syntax_error", case("def f(x)\n    return 2", &tests)),
        ("code_block:output_differs", with("```python\nprint(input())\n```", &streams)),
        ("code_block:exception:ValueError", with("```python\nprint(2)\nint('x')\n```", &streams)),
        ("no_code", with("I do not know.", &json!({"tests": tests}))),
        ("no_code", with("", &json!({"tests": tests}))),
        // Nothing to test by, or nothing that tests.
        ("no_tests", case("pass", &json!([]))),
        ("no_tests", case("pass", &json!(["", "def check(candidate):\n    assert candidate(1)"]))),
        ("no_tests", case("pass", &json!(["import math", "x = 1"]))),
        ("tests_unusable", case("pass", &json!(["assert f(1) =="]))),
        ("tests_unusable", case("pass", &json!(["import no_such_module_anywhere\nassert f(1)"]))),
        ("tests_unusable", case("pass", &json!([{"input": "1", "output": "2"}, "assert True"]))),
    ];
    assert_reasons(&bench, &expected, &[]);
}

#[test]
fn a_program_that_only_pretends_is_never_correct() {
    let bench = Bench::new();
    let tests = json!(["assert set(f(1)) == set([2])", "import math\nassert math.isclose(f(1)[0], 2)"]);
    let wrong = "\ndef f(x):\n    return [x]";
    let equal = "class E(list):\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n";
    let pretend = |program: &str| case(program, &tests);
    let channel = "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'{\"end\": \"tests_passed\", \"token\": \"0\"}\\n')\n    except OSError:\n        pass\nos._exit(0)";
    let expected = [
        ("code_block:early_exit", pretend("import sys\nsys.exit(0)")),
        ("code_block:early_exit", pretend("import os\ndef f(x):\n    os._exit(0)")),
        ("code_block:early_exit", pretend("raise SystemExit")),
        ("code_block:early_exit", pretend("import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    exit()")),
        ("code_block:early_exit", pretend(channel)),
        ("code_block:early_exit", pretend("print('tests passed')\nquit()")),
        ("code_block:test_failed", pretend(&format!("import builtins\nbuiltins.set = lambda *a: 0{wrong}"))),
        ("code_block:test_failed", pretend(&format!("def set(*a):\n    return 0{wrong}"))),
        ("code_block:test_failed", pretend(&format!("import builtins\nbuiltins.AssertionError = SystemExit{wrong}"))),
        (
            "code_block:test_failed",
            case(
                "import math, sys\nmath.isclose = lambda *a: True\nsys.modules['math'] = None\ndef f(x):\n    return x",
                &json!(["import math", "assert math.isclose(f(1), 2)"]),
            ),
        ),
        ("code_block:test_failed", case(&format!("{equal}def f(x):\n    return E()"), &json!(["assert f(1) == 2"]))),
        (
            "code_block:opaque_result",
            case("from unittest.mock import ANY\ndef f(x):\n    return ANY", &json!(["assert f(1) == 2"])),
        ),
        ("code_block:exception:OSError", pretend("import os\nos.close(0)\nos.read(0, 1)")),
        ("code_block:early_exit", pretend("import os\nos.closerange(3, 64)\ndef f(x):\n    return [2]")),
    ];
    assert_reasons(&bench, &expected, &[]);
}
