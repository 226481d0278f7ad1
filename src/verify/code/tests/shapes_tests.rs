//! Tests in the shapes of data sets.

use serde_json::json;

use super::{assert_ends, case, verifier};
use crate::{CodeCase, TestsFault};

const ADD: &str = "def add(a, b):\n    return a + b";
const SUB: &str = "def add(a, b):\n    return a - b";

#[test]
fn every_shape_of_tests_tells_right_from_wrong() {
    let shapes = [
        "assert add(2, 3) == 5".to_owned(),
        "[\"assert add(2,3)==5\"]".to_owned(),
        "['assert add(2,3)==5' 'assert add(1,1)==2']".to_owned(),
        "(\"assert add(2,3)==5\",)".to_owned(),
        "\"\"\"assert add(2,3)==5\"\"\"".to_owned(),
        "def test():\n    assert add(2,3)==5".to_owned(),
        "def test_add():\n    assert add(2,3)==5\n".to_owned(),
        "def test_add():\n    assert add(2,3)==5\n\ntest_add()".to_owned(),
        "import pytest\n@pytest.mark.parametrize('a, b, c', [(2, 3, 5), (1, 1, 2)])\ndef test_add(a, b, c):\n    assert add(a, b) == c".to_owned(),
        "import pytest\n@pytest.fixture\ndef two():\n    return 2\ndef test_add(two):\n    assert add(two, 3) == 5".to_owned(),
        "class TestAdd:\n    def test_add(self):\n        assert add(2, 3) == 5".to_owned(),
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(add(2,3),5)\n".to_owned(),
        "import unittest\nclass T(unittest.TestCase):\n    def setUp(self):\n        self.x = 2\n    def test_a(self):\n        for y in (3, 4):\n            with self.subTest(y=y):\n                self.assertEqual(add(self.x, y), 2 + y)\nif __name__=='__main__':\n    unittest.main()".to_owned(),
        "from solution import add\ndef test_add():\n    assert add(2,3)==5".to_owned(),
        "from your_module import add as plus\nassert plus(2, 3) == 5".to_owned(),
        "import solution\nassert solution.add(2, 3) == 5".to_owned(),
        "def run():\n    for a in range(3):\n        for b in range(3):\n            assert add(a, b) == a + b\nif __name__ == '__main__':\n    run()".to_owned(),
        "def check(candidate):\n    assert candidate(2, 3) == 5\ncheck(add)".to_owned(),
        "if add(2, 3) != 5:\n    raise ValueError('wrong')".to_owned(),
        "import sys\nif add(2, 3) != 5:\n    sys.exit(1)".to_owned(),
        "try:\n    import no_such_module_anywhere as n\nexcept ImportError:\n    n = None\nassert n is None and add(2, 3) == 5".to_owned(),
        "result = [add(a, 1) for a in range(3)]\nassert result == [1, 2, 3]".to_owned(),
        "class Calc:\n    def __init__(self, op): self.op = op\n    def run(self): return self.op(2, 3)\nassert Calc(add).run() == 5".to_owned(),
        json!({"fn_name": "add", "inputs": [[2, 3], [5, 6]], "outputs": [5, 11]}).to_string(),
        json!({"fn_name": "add", "inputs": [[2, 3]], "outputs": [[5]]}).to_string(),
        json!({"fn_name": "add", "inputs": ["[2, 3]"], "outputs": ["5"]}).to_string(),
        json!([{"input": "2\n3", "output": "5", "testtype": "functional"}]).to_string(),
        json!([{"input": "2\n3", "output": "5", "testtype": "functional", "metadata": {"func_name": "add"}}]).to_string(),
    ];
    let mut cases = Vec::new();
    let solution = |program: &str| {
        format!("class Solution:\n    {}", program.replace("add(a", "add(self, a").replace('\n', "\n    "))
    };
    for shape in &shapes {
        cases.push((":tests_passed", case(ADD, &[shape])));
        cases.push((":tests_passed", case(&solution(ADD), &[shape])));
        cases.push(("", case(SUB, &[shape])));
        cases.push(("", case("def nothing(): return None", &[shape])));
    }
    let verifier = verifier(4);
    for (end, case) in &cases {
        let reason = super::reason(&verifier, case);
        let is_wrong = end.is_empty() && !["no_tests", "tests_unusable", "sandbox_failed"].contains(&reason.as_str());
        assert!(
            reason.ends_with(":tests_passed") != end.is_empty() && (is_wrong || !end.is_empty()),
            "{reason}: {case:?}"
        );
        assert_eq!(verifier.check_tests(case).unwrap(), None, "{case:?}");
    }
}

#[test]
fn tests_that_cannot_fail_are_none_and_those_that_cannot_run_unusable_whatever_the_response() {
    let verifier = verifier(2);
    for vain in [
        "",
        "[]",
        "{}",
        "()",
        "None",
        "nan",
        "''",
        "pass",
        "# no tests",
        "import math",
        "x = 5",
        "add(2,3)",
        "add(2,3)==5",
        "print(add(2,3)==5)",
        "add(2,3) == 5, 'message'",
        "(add(2,3)==5, 'message')",
        "assert True",
        "assert 1",
        "assert 'text'",
        "assert (add(2,3)==5, \"message\")",
        "assert [add(2,3)==5]",
        "assert add(2,3) == 5 or True",
        "assert not False",
        "assert 1 + 1 == 2",
        "assert len([1]) == 1",
        "x = 3\nassert x == 3",
        "def check(candidate):\n    assert candidate(2,3)==5\n",
        "def f():\n    assert add(2,3)==5",
        "def helper(x):\n    return x\nassert helper(1) == 1",
        "{\"assert\": 1}",
        "try:\n    assert add(2, 3) == 5\nexcept Exception:\n    pass",
        "try:\n    assert add(2, 3) == 5\nexcept:\n    print('failed')",
        "add(2, 3)\nassert True",
        "class A:\n    def go(self):\n        assert add(2, 3) == 5",
        "assert lambda: add(2, 3)",
        "assert add",
        "\"\"\"add(2,3)==5\"\"\"",
        "{\"inputs\": [], \"outputs\": []}",
        "[{\"input\": \"1\", \"output\": \"\"}]",
    ] {
        for response in [ADD, "def nothing(): return None"] {
            let case = case(response, &[vain]);
            assert_eq!(super::reason(&verifier, &case), "no_tests", "{vain}");
            assert_eq!(verifier.check_tests(&case).unwrap(), Some(TestsFault::None), "{vain}");
        }
    }
    for unusable in [
        "assert add(2,3) ==",
        "['2 3']",
        "import no_such_module_anywhere\nassert add(2, 3) == 5",
        "return add(2, 3)",
        "{\"input\": \"1\"}",
        "assert add(2, 3) == 5\n  x",
        "def test_add(no_such_fixture):\n    assert add(2, 3) == 5",
    ] {
        let case = case(ADD, &[unusable]);
        assert_eq!(super::reason(&verifier, &case), "tests_unusable", "{unusable}");
        if !unusable.contains("fixture") {
            assert_eq!(verifier.check_tests(&case).unwrap(), Some(TestsFault::Unusable), "{unusable}");
        }
    }
}

#[test]
fn a_test_of_a_function_that_is_called_like_one_of_the_language_needs_one_of_the_programs() {
    let own = "def sum(a, b):\n    return a + b";
    assert_ends(&[
        (":tests_passed", case(own, &["assert sum(10, 15) == 25"])),
        (":test_failed", case(&own.replace('+', "-"), &["assert sum(10, 15) == 25"])),
        (":exception:NameError", case("def nothing(): return None", &["assert sum(10, 15) == 25"])),
        ("no_tests", case("def nothing(): return None", &["assert len([1]) == 1"])),
        (":test_failed", case("def set(*a): return 0\ndef f(x): return [x]", &["assert set(f(1)) == set([2])"])),
    ]);
}

#[test]
fn programs_that_print_are_compared_by_tokens() {
    let with = |program: &str, tests: serde_json::Value| case(program, &[&tests.to_string()]);
    let sum = "a, b = map(int, input().split())\nprint(a + b)";
    assert_ends(&[
        (":outputs_equal", with(sum, json!({"inputs": ["2 3\n", "5 6\n"], "outputs": ["5\n", "11\n"]}))),
        (":outputs_equal", with(sum, json!([{"input": "2 3", "output": "5", "testtype": "stdin"}]))),
        (":outputs_equal", with(sum, json!({"input": ["2 3", "1 1"], "output": ["5", "2"]}))),
        (":output_differs", with("print('hello')", json!([{"input": "2 3", "output": "5", "testtype": "stdin"}]))),
        (":output_differs", with("def f(x):\n    return 1", json!([{"input": "2 3", "output": "5"}]))),
        (":outputs_equal", with("print(2 ** 0.5)", json!([{"input": "2", "output": "1.4142135624"}]))),
        (":output_differs", with("print(1.5)", json!([{"input": "2", "output": "1.4142135624"}]))),
        (":outputs_equal", with("print(1,  2)\nprint(3)", json!([{"input": "", "output": "1 2 3"}]))),
        (
            ":outputs_equal",
            with(
                "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(0)",
                json!([{"input": "1 2\n", "output": "3\n"}]),
            ),
        ),
        (
            ":outputs_equal",
            with(
                "if __name__ == '__main__':\n    print(sum(int(l) for l in open(0)))",
                json!([{"input": "1\n2\n", "output": "3\n"}]),
            ),
        ),
        (":exception:ValueError", with("print(2)\nint('x')", json!([{"input": "1", "output": "2"}]))),
    ]);
}

#[test]
fn questions_that_begin_a_program_and_entry_points_are_used() {
    let question = "from typing import List\n\n\ndef helper(x):\n    return x * 2\n\n\ndef double(xs: List[int]) -> List[int]:\n    \"\"\" Doubles. \"\"\"\n";
    let check = "def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n    assert candidate([]) == []\n";
    let with = |response: &str| CodeCase {
        question: question.to_owned(),
        entry_point: Some("double".to_owned()),
        response: response.to_owned(),
        ..case("", &[check])
    };
    let mend = |program: &str| CodeCase {
        question: "Fix this:\n```python\ndef add(a, b):\n    return a - b\n```\n".to_owned(),
        ..case(program, &["assert add(2, 3) == 5"])
    };
    let method =
        |program: &str| CodeCase { entry_point: Some("Solution().double".to_owned()), ..case(program, &[check]) };
    assert_ends(&[
        (":tests_passed", method("class Solution:\n    def double(self, xs):\n        return [2 * x for x in xs]")),
        (":test_failed", method("class Solution:\n    def double(self, xs):\n        return xs")),
        ("continuation:tests_passed", with("    return [helper(x) for x in xs]\n")),
        (
            "continuation:tests_passed",
            with("result = []\n    for x in xs:\n        result.append(2 * x)\n    return result"),
        ),
        (
            "code_block:tests_passed",
            with("```python\ndef double(xs: List[int]):\n    return [helper(x) for x in xs]\n```"),
        ),
        ("continuation:test_failed", with("    return xs\n")),
        (":tests_passed", mend(ADD)),
        (":test_failed", mend(SUB)),
    ]);
}
