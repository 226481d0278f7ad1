//! The programs of a run: the sandbox that responses run in, and the conditions that their verdicts hold under.

use super::error::RunError;
use crate::config::{EvaluatedRule, VerifySettings};
use crate::domain::Verdict;
use crate::verify::sandbox::{Sandbox, SandboxOptions};
use crate::verify::{CodeCase, CodePool, CodeVerifier};

/// Returns the sandbox's options.
#[must_use]
pub fn sandbox_options(settings: &VerifySettings) -> SandboxOptions {
    SandboxOptions {
        strict: settings.strict,
        python: settings.python.clone(),
        time_limit_s: settings.time_limit_s,
        memory_limit_mib: settings.memory_limit_mib,
        output_limit_kib: settings.output_limit_kib,
    }
}

/// Opens the sandbox and starts its threads; says on the log what is missing, if anything is.
#[must_use]
pub fn open_pool(settings: &VerifySettings) -> CodePool {
    let sandbox = Sandbox::open(&sandbox_options(settings));
    match &sandbox {
        Err(incomplete) => {
            tracing::warn!("{incomplete}; programs are not run and stay unverifiable (hint: {})", incomplete.hint());
        }
        Ok(sandbox) => {
            for (layer, detail) in sandbox.left_out() {
                tracing::warn!("programs run without {} ({detail}), as verify.strict = false allows", layer.name());
            }
        }
    }
    CodePool::start(CodeVerifier::new(sandbox), settings.workers as usize)
}

/// Everything besides query and response that decides a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// Which arithmetic an answer may leave to be done.
    pub evaluated: EvaluatedRule,
    /// The limits of programs, and what their sandbox lacks.
    pub programs: serde_json::Value,
}

/// What runs programs in a run; nothing, if its input has none.
pub struct Programs {
    pool: Option<CodePool>,
    conditions: Conditions,
    lack: Option<String>,
}

impl Programs {
    /// Opens the sandbox. Blocks for about a tenth of a second.
    #[must_use]
    pub fn open(settings: &VerifySettings) -> Self {
        Self::with_pool(settings, open_pool(settings))
    }

    /// Takes a sandbox that is open already.
    #[must_use]
    pub fn with_pool(settings: &VerifySettings, pool: CodePool) -> Self {
        let lack = match pool.verifier().sandbox() {
            Err(_) => Some("no sandbox".to_owned()),
            Ok(sandbox) => {
                let names: Vec<&str> = sandbox.left_out().iter().map(|(layer, _)| layer.name()).collect();
                (!names.is_empty()).then(|| format!("no {}", names.join(", no ")))
            }
        };
        // A verdict that was made without a sandbox does not stand in the way of one that is made with it.
        let programs = serde_json::json!({
            "time_limit_s": settings.time_limit_s,
            "memory_limit_mib": settings.memory_limit_mib,
            "output_limit_kib": settings.output_limit_kib,
            "sandbox": lack,
        });
        let conditions = Conditions { evaluated: settings.evaluated, programs };
        Self { pool: Some(pool), conditions, lack }
    }

    /// Stands for the programs of a run that has none.
    #[must_use]
    pub fn none(settings: &VerifySettings) -> Self {
        let conditions = Conditions { evaluated: settings.evaluated, programs: serde_json::Value::Null };
        Self { pool: None, conditions, lack: None }
    }

    /// Returns everything besides query and response that decides a verdict.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Returns what the sandbox lacks, if anything.
    #[must_use]
    pub fn lack(&self) -> Option<&str> {
        self.lack.as_deref()
    }

    /// Runs a program with its tests, without blocking.
    ///
    /// # Errors
    /// [`RunError::Sandbox`] if the machine fails: such a verdict is no fact.
    pub async fn verify(&self, case: CodeCase) -> Result<Verdict, RunError> {
        let pool = self.pool.as_ref().ok_or_else(|| RunError::Internal("programs without a sandbox".to_owned()))?;
        pool.verify(case).await.0.map_err(RunError::Sandbox)
    }
}
