//! Templates that fuel does not stop, and the equality of renderings in both processes.

use minijinja::context;

use super::*;

/// The variable that marks the process that this test binary starts from itself.
const ASKED: &str = "THINKLOOM_TEST_TEMPLATES";

fn program() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("{}::answers_for_the_other_tests", module_path!().split_once("::").unwrap().1);
    command.args([name.as_str(), "--exact", "--nocapture", "--test-threads=1"]).env(ASKED, "1");
    command
}

/// Not a test by itself: the other tests start it as their process.
#[test]
fn answers_for_the_other_tests() {
    if std::env::var_os(ASKED).is_some() {
        serve_stdin();
        #[expect(clippy::exit, reason = "the harness must not write behind what was served")]
        std::process::exit(0);
    }
    assert!(!serve_if_asked(), "the test harness is not asked by its argument");
}

fn apart(source: &str) -> Result<Apart, TemplateError> {
    Ok(Apart::with_program(source, program)?.expect("this binary can be started"))
}

fn rendered(source: &str) -> Result<String, String> {
    apart(source)
        .and_then(|mut apart| apart.render(&context! { messages => ["a", "b"] }))
        .map_err(|error| error.to_string())
}

#[test]
fn a_template_says_the_same_in_a_process_of_its_own() {
    let source = "{% for m in messages %}{{ m.role }}:{{ m | tojson }}{{ m.items() | list }}{% endfor %}{{ flag }}{{ n }}\
                  {{ missing is defined }}{{ shout('x') }}{{ shout('\u{e9}\"') }}";
    let values = || {
        let messages = [serde_json::json!({"role": "user", "content": "a\u{0}\u{1f600}\n\"{{ x }}"})];
        let ordered = context! { zebra => 1, apple => 2, role => "r" };
        context! { messages => [ordered, Value::from(minijinja::value::Serde(&messages[0]))], flag => true, n => 1.5 }
    };
    let shout: TextFunction = |text| text.to_uppercase();
    let mut here = Compiled::new(source).unwrap();
    here.add_function("shout", move |text: String| Ok(shout(text)));
    let mut apart = apart(source).unwrap();
    apart.add_text_function("shout", shout);
    let expected = here.render(values()).unwrap();
    assert!(expected.contains("zebra") && expected.ends_with("True1.5FalseX\u{c9}\""), "{expected}");
    assert_eq!(apart.render(&values()).unwrap(), expected);
    assert_eq!(apart.render(&values()).unwrap(), expected, "it stays warm");
    assert_eq!(apart.starts, 1);
    let refusing = rendered("{{ raise_exception('no ' ~ messages[0]) }}").unwrap_err();
    assert!(refusing.contains("cannot be rendered") && refusing.contains("no a"), "{refusing}");
    assert!(rendered("{% for %}").unwrap_err().contains("syntax error"));
}

#[test]
fn a_process_that_ends_is_replaced_and_the_template_goes_on() {
    let source = "{% if kill %}{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}\
                  {{ ns.x }}{% endif %}{{ shout('a') }}";
    let mut apart = apart(source).unwrap();
    apart.add_text_function("shout", |text| text.to_uppercase());
    for starts in 2..4 {
        apart.process.as_mut().unwrap().child.kill().unwrap();
        assert_eq!(apart.render(&context! { kill => false }).unwrap(), "A", "what the machine cut is made once more");
        assert_eq!(apart.starts, starts);
    }
    let error = apart.render(&context! { kill => true }).unwrap_err().to_string();
    assert!(error.contains("memory") || error.contains("come to an end"), "{error}");
    assert_eq!(apart.starts, 3, "what the template does is not tried again");
    assert_eq!(apart.render(&context! { kill => false }).unwrap(), "A");
}

/// Renders all templates at once, each in its own process, and asserts that each one fails with one of these reasons.
fn assert_refused(sources: &[String], reasons: &[&str]) {
    std::thread::scope(|scope| {
        for source in sources {
            scope.spawn(move || {
                let error = rendered(source).map(|text| text.len()).expect_err("the template is refused");
                assert!(reasons.iter().any(|reason| error.contains(reason)), "{source:.80}: {error}");
            });
        }
    });
}

#[test]
fn lists_that_hold_another_twice_and_again_end_the_process_and_not_the_program() {
    let doubled = "{% set ns = namespace(x=['x']) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    let straight = "{% set x = [x, x] %}".repeat(64);
    let mirrored = "{% set y = [y, y] %}".repeat(64);
    let cases = [
        format!("{doubled}{{{{ ns.x }}}}"),
        format!("{doubled}{{% set y = ns.x ~ '' %}}"),
        format!("{doubled}{{{{ ns.x | tojson }}}}"),
        format!("{{% set x = ['x'] %}}{{% set y = ['x'] %}}{straight}{mirrored}{{{{ x == y }}}}"),
    ];
    assert_refused(&cases, &["does not come to an end within 1 s", "needs more than 384 MiB"]);
}

#[test]
fn nesting_beyond_any_stack_ends_the_process_and_not_the_program() {
    let deep = "{% set ns = namespace(x=[]) %}{% for a in range(900) %}{% for b in range(900) %}{% set ns.x = [ns.x] %}\
                {% endfor %}{% endfor %}";
    let cases = [
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}".to_owned(),
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | tojson }}".to_owned(),
        format!("{deep}{{{{ ns.x }}}}"),
        format!("{{{{ {}1 }}}}", "1 + ".repeat(200_000)),
        format!("{{{{ 1{} }}}}", " | abs".repeat(100_000)),
        format!("{{{{ a{} }}}}", ".b".repeat(200_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(200_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{}{}", "{% if 1 %}".repeat(10_000), "{% endif %}".repeat(10_000)),
    ];
    // The depth limit depends on the compiler and the build.
    std::thread::scope(|scope| {
        for source in &cases {
            scope.spawn(move || {
                let cut = "the process that renders it ended";
                assert!(!rendered(source).is_err_and(|error| error.contains(cut)), "{source:.80}");
            });
        }
    });
    assert_refused(&cases[..2], &["nests far deeper than any template", "come to an end"]);
}

#[test]
fn single_steps_of_any_size_are_refused() {
    let cases = [
        "{{ 'x' * 999999999999 }}",
        "{{ range(10**12) | list | length }}",
        "{{ 'a\nb' | indent(1000000000) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ (['a'] * 99999999) | join('bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb') }}",
        "{{ ('x' * 9999999).replace('', 'y' * 999) }}",
        "{{ (['a'] * 99999999) }}",
    ];
    let reasons = ["come to an end", "too many elements", "needs more than"];
    assert_refused(&cases.map(str::to_owned), &reasons);
    let long = "x".repeat((1 << 20) + 1);
    let error = crate::policy::ChatTemplate::new(&long).unwrap_err().to_string();
    assert!(error.contains("it has 1048577 bytes; at most 1048576 are read"), "{error}");
}
