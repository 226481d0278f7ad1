//! The guide: one page per topic, in the documentation and in the program (`thinkloom help TOPIC`).
//!
//! The names of the topics must not change: error hints, `--help` texts and the README refer to them. A page is
//! Markdown that is readable without rendering. [`config_page`] generates `config.md`; a test checks that the two are
//! equal.

mod page;

pub use page::config_page;

/// A page of the guide.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The topic's name.
    pub name: &'static str,
    /// One line for the list of topics.
    pub summary: &'static str,
    /// The page, as Markdown.
    pub text: &'static str,
}

/// Declares one documentation module per page, and the table of pages.
macro_rules! pages {
    ($($name:ident: $summary:literal),+ $(,)?) => {
        $(
            #[doc = include_str!(concat!(stringify!($name), ".md"))]
            pub mod $name {}
        )+

        /// All pages, in the order of the list of topics.
        pub const PAGES: &[Page] = &[
            $(Page {
                name: stringify!($name),
                summary: $summary,
                text: include_str!(concat!(stringify!($name), ".md")),
            }),+
        ];
    };
}

pages! {
    config: "every setting: type, default, range, meaning",
    data: "input files and fields; the tables, their columns, SQL; report and viewer",
    models: "the hosted models, their files, mode presets",
    gpu: "building for an NVIDIA GPU, memory, measured speed",
    servers: "a policy behind vLLM, SGLang or another server; outages",
    judge: "the judge: API, batch API or the policy itself; checks, costs",
    selection: "the rules for verdicts, mode, response and difficulty; selecting again",
    dedup: "duplicates, near-duplicates and contamination by benchmarks",
    sandbox: "queries of kind code: tests, verdicts, the sandbox that programs run in",
    export: "datasets for TRL, verl, LLaMA-Factory, ms-swift and axolotl",
    rewards: "HiPO's rewards and advantages, as a command and for trainers",
    python: "the Python package: verifiers, reward, tables of a run, in place of math-verify",
    eval: "accuracy, length and think rate under three conditions",
    serve: "the hosted model behind an OpenAI-compatible server",
    recovery: "stopping, resuming, changing a config, damaged directories, exit codes",
    benchmarks: "the measurements, their machines, and how to repeat them",
    glossary: "the words that thinkloom uses",
}

/// Returns the page of a topic.
#[must_use]
pub fn page(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}
