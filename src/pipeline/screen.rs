//! Finds queries that no response can solve: golds that cannot be parsed, tests that cannot fail or cannot be run.
//!
//! Such queries are excluded during intake, before sampling. Golds and the form of tests are checked without running
//! any program. Whether tests are valid Python is checked in the sandbox; without a sandbox, the verdicts show it.

use rayon::prelude::*;

use super::error::RunError;
use super::programs::open_pool;
use crate::config::VerifySettings;
use crate::domain::{ExclusionReason, Kind, Query};
use crate::ingest::UnreadGolds;
use crate::sys::threads;
use crate::verify::{self, CodeCase, CodePool, TestsFault};

/// The exclusion of an unsolvable query: reason and detail.
pub type Fault = (ExclusionReason, String);

/// Returns the fault of a query's gold or tests that is visible without running a program.
#[must_use]
pub fn fault(query: &Query) -> Option<Fault> {
    gold_fault(query).or_else(|| {
        let is_code = query.kind == Kind::Code;
        is_code.then(|| verify::check_tests(&query.tests).err()).flatten().map(tests_fault)
    })
}

fn gold_fault(query: &Query) -> Option<Fault> {
    let detail = verify::check_gold(query.kind, &query.gold, &query.choices).err()?;
    Some((ExclusionReason::InvalidValue, detail))
}

/// Returns the exclusion for faulty tests.
#[must_use]
pub fn tests_fault(fault: TestsFault) -> Fault {
    let (reason, detail) = match fault {
        TestsFault::None => (ExclusionReason::NoTests, "there is no test that can fail"),
        TestsFault::Unusable => (
            ExclusionReason::TestsUnusable,
            "the tests cannot be run: they are no Python, or inputs and outputs that do not fit each other",
        ),
    };
    (reason, detail.to_owned())
}

/// Checks the tests of programs in the sandbox, which is opened for the first of them.
pub struct Screen<'a> {
    settings: &'a VerifySettings,
    opened: Option<(CodePool, rayon::ThreadPool)>,
}

impl<'a> Screen<'a> {
    /// Opens nothing yet.
    #[must_use]
    pub const fn new(settings: &'a VerifySettings) -> Self {
        Self { settings, opened: None }
    }

    /// Returns the faults of the tests of each query of kind `code`, and `None` for other queries. Checks up to
    /// `verify.workers` queries at once. Blocks.
    ///
    /// # Errors
    /// [`RunError::Sandbox`] if the machine fails, which proves nothing about the tests.
    pub fn look_at(&mut self, queries: &[&Query]) -> Result<Vec<Option<TestsFault>>, RunError> {
        if queries.iter().all(|query| query.kind != Kind::Code) {
            return Ok(vec![None; queries.len()]);
        }
        if self.opened.is_none() {
            let pool = open_pool(self.settings);
            let threads = threads::pool(pool.workers().max(1))?;
            self.opened = Some((pool, threads));
        }
        let Some((pool, threads)) = &self.opened else { return Ok(vec![None; queries.len()]) };
        let look = |query: &&Query| match query.kind {
            Kind::Code => pool.verifier().check_tests(&case(query)).map_err(RunError::Sandbox),
            Kind::Math | Kind::Numeric | Kind::Choice | Kind::Text => Ok(None),
        };
        threads.install(|| queries.par_iter().map(look).collect())
    }

    /// Returns the sandbox, if it was opened.
    #[must_use]
    pub fn into_pool(self) -> Option<CodePool> {
        self.opened.map(|(pool, _)| pool)
    }
}

fn case(query: &Query) -> CodeCase {
    CodeCase {
        tests: query.tests.clone(),
        test_imports: query.test_imports.clone(),
        entry_point: query.entry_point.clone(),
        question: query.question.clone(),
        response: String::new(),
    }
}

/// The numbers of faulty golds and tests, for the log.
#[derive(Debug, Default)]
pub struct Findings {
    golds: u64,
    unread: UnreadGolds,
    programs: u64,
    untestable: UnreadGolds,
}

impl Findings {
    /// Counts a query with its fault, if any.
    pub fn add(&mut self, query: &Query, fault: Option<&Fault>) {
        self.golds += u64::from(!query.gold.trim().is_empty());
        self.programs += u64::from(query.kind == Kind::Code);
        let Some((reason, detail)) = fault else { return };
        let kept = if *reason == ExclusionReason::InvalidValue { &mut self.unread } else { &mut self.untestable };
        kept.add(query.ordinal, &query.origin, detail);
    }

    /// Adds the golds that the input reader could not parse.
    pub fn add_unread(&mut self, unread: &UnreadGolds) {
        self.golds += unread.count;
        self.unread.join(unread);
    }

    /// Logs how many queries no response can solve, if any.
    pub fn tell(&self) {
        self.sentences().iter().for_each(|sentence| tracing::warn!("{sentence}"));
    }

    fn sentences(&self) -> Vec<String> {
        let Self { golds, unread, programs, untestable } = self;
        let sentence = |found: &UnreadGolds, of: u64, what: &str| {
            let (_, first) = found.first.as_ref()?;
            Some(format!("{} of {} {what}, first: {first}", grouped(found.count), grouped(of)))
        };
        let golds = sentence(unread, *golds, "golds cannot be read");
        let tests = sentence(untestable, *programs, "queries of kind code have no tests that can decide anything");
        golds.into_iter().chain(tests).collect()
    }
}

/// Returns a number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, QueryId, QueryLabels};

    fn query(ordinal: u64, kind: Kind, gold: &str, tests: &[&str]) -> Query {
        Query {
            id: QueryId(ordinal.to_string()),
            ordinal,
            source: "s".to_owned(),
            origin: Origin { file: "q.jsonl".to_owned(), line: ordinal + 1 },
            kind,
            question: "Q".to_owned(),
            gold: gold.to_owned(),
            choices: Vec::new(),
            tests: tests.iter().map(|&test| test.to_owned()).collect(),
            test_imports: Vec::new(),
            entry_point: None,
            labels: QueryLabels::default(),
        }
    }

    #[test]
    fn golds_and_tests_that_decide_nothing_are_faults_and_others_are_none() {
        let reason = |kind, gold: &str, tests: &[&str]| fault(&query(0, kind, gold, tests)).map(|(reason, _)| reason);
        assert_eq!(reason(Kind::Numeric, "many", &[]), Some(ExclusionReason::InvalidValue));
        assert_eq!(reason(Kind::Numeric, "12", &[]), None);
        assert_eq!(reason(Kind::Code, "def f(): pass", &[]), Some(ExclusionReason::NoTests));
        assert_eq!(
            reason(Kind::Code, "", &[r#"{"inputs": ["1"], "outputs": []}"#]),
            Some(ExclusionReason::TestsUnusable)
        );
        assert_eq!(reason(Kind::Code, "", &["assert f(1) == 2"]), None);
    }

    #[test]
    fn findings_are_one_sentence_each_with_the_first_in_order_of_rows() {
        let mut findings = Findings::default();
        assert!(findings.sentences().is_empty());
        for ordinal in 0..1000 {
            findings.add(&query(ordinal, Kind::Numeric, "1", &[]), None);
        }
        let bad = query(1000, Kind::Numeric, "many", &[]);
        findings.add(&bad, fault(&bad).as_ref());
        let mut unread = UnreadGolds::default();
        unread.add(7, &Origin { file: "q.jsonl".to_owned(), line: 8 }, "it names no choice");
        findings.add_unread(&unread);
        assert_eq!(findings.sentences(), ["2 of 1,002 golds cannot be read, first: q.jsonl:8: it names no choice"]);
        let code = query(1001, Kind::Code, "", &[]);
        findings.add(&code, fault(&code).as_ref());
        let told = findings.sentences();
        assert!(
            told[1].starts_with(
                "1 of 1 queries of kind code have no tests that can decide anything, first: q.jsonl:1002: "
            )
        );
    }

    #[test]
    fn thousands_are_parted_by_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (7473, "7,473"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
