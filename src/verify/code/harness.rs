//! The harness: Python sources that a warmed interpreter holds, and that run tests and programs in its children.
//!
//! The sources share one namespace. `literals` and `wire` connect the two processes of a job, `reading` and `analysis`
//! parse Python without running it, `program` runs in the program's process, and `proxies`, `tests`, `standins` and
//! `trial` run in the tests' process.

/// The sources with their names, in order.
pub(crate) const HARNESS: &[(&str, &str)] = &[
    ("reading", include_str!("harness/reading.py")),
    ("literals", include_str!("harness/literals.py")),
    ("wire", include_str!("harness/wire.py")),
    ("program", include_str!("harness/program.py")),
    ("proxies", include_str!("harness/proxies.py")),
    ("tests", include_str!("harness/tests.py")),
    ("analysis", include_str!("harness/analysis.py")),
    ("standins", include_str!("harness/standins.py")),
    ("trial", include_str!("harness/trial.py")),
];
