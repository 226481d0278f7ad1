//! The programs of a run: their sandbox, and the conditions of their verdicts.

use tokio::sync::RwLock;

use super::error::RunError;
use crate::config::{EvaluatedRule, VerifySettings};
use crate::domain::{UnverifiableCause, Verdict};
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

/// Opens the sandbox and starts its threads. Logs its missing layers, if any.
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

/// Everything beside query and response that decides a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// Which arithmetic the verifier evaluates in an answer.
    pub evaluated: EvaluatedRule,
    /// The limits of programs, and the missing layers of their sandbox.
    pub programs: serde_json::Value,
}

/// Returns the conditions of programs. The conditions include missing layers, so that a verdict made without a sandbox
/// does not replace one made with it.
fn conditions(settings: &VerifySettings, lack: Option<&str>) -> Conditions {
    let programs = serde_json::json!({
        "time_limit_s": settings.time_limit_s,
        "memory_limit_mib": settings.memory_limit_mib,
        "output_limit_kib": settings.output_limit_kib,
        "sandbox": lack,
    });
    Conditions { evaluated: settings.evaluated, programs }
}

/// Runs the programs of a run. Empty if its input has no query of kind `code`.
pub struct Programs {
    pool: Option<CodePool>,
    conditions: Conditions,
    lack: Option<String>,
    /// Locked for reading by every program, for writing by a program that runs alone.
    alone: RwLock<()>,
}

/// How often a program that ends its sandbox is run alone before the program counts as the cause.
const ALONE_RUNS: u32 = 2;

impl Programs {
    /// Opens the sandbox. Blocks for about a tenth of a second.
    #[must_use]
    pub fn open(settings: &VerifySettings) -> Self {
        Self::with_pool(settings, open_pool(settings))
    }

    /// Takes an open sandbox.
    #[must_use]
    pub fn with_pool(settings: &VerifySettings, pool: CodePool) -> Self {
        let lack = match pool.verifier().sandbox() {
            Err(_) => Some("no sandbox".to_owned()),
            Ok(sandbox) => {
                let names: Vec<&str> = sandbox.left_out().iter().map(|(layer, _)| layer.name()).collect();
                (!names.is_empty()).then(|| format!("no {}", names.join(", no ")))
            }
        };
        let conditions = conditions(settings, lack.as_deref());
        Self { pool: Some(pool), conditions, lack, alone: RwLock::default() }
    }

    /// Returns the programs of an earlier start with its missing layers: stored verdicts can be looked up, and no new
    /// ones can be made.
    #[must_use]
    pub fn of_earlier(settings: &VerifySettings, lack: Option<String>) -> Self {
        let conditions = conditions(settings, lack.as_deref());
        Self { pool: None, conditions, lack, alone: RwLock::default() }
    }

    /// Returns the programs of a run that has none.
    #[must_use]
    pub fn none(settings: &VerifySettings) -> Self {
        let conditions = Conditions { evaluated: settings.evaluated, programs: serde_json::Value::Null };
        Self { pool: None, conditions, lack: None, alone: RwLock::default() }
    }

    /// Returns everything beside query and response that decides a verdict.
    #[must_use]
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Returns the missing layers of the sandbox, if any.
    #[must_use]
    pub fn lack(&self) -> Option<&str> {
        self.lack.as_deref()
    }

    /// Runs a program with its tests, without blocking. If the program ends its sandbox, it is run again, alone. If the
    /// sandbox ends each time, while a harmless program runs well in between, the verdict is `unverifiable`.
    ///
    /// # Errors
    /// [`RunError::Sandbox`] if the machine fails: such a verdict is not a fact.
    pub async fn verify(&self, case: CodeCase) -> Result<Verdict, RunError> {
        let pool = self.pool.as_ref().ok_or_else(|| RunError::Internal("programs without a sandbox".to_owned()))?;
        let fault = {
            let _together = self.alone.read().await;
            match pool.verify(case.clone()).await.0 {
                Ok(verdict) => return Ok(verdict),
                Err(fault) => fault,
            }
        };
        tracing::warn!("{fault}; thinkloom runs the program again, alone");
        let _alone = self.alone.write().await;
        for _ in 0..ALONE_RUNS {
            if let Ok(verdict) = pool.verify(case.clone()).await.0 {
                return Ok(verdict);
            }
            // If a harmless program fails too, the machine is the cause.
            pool.verify(harmless()).await.0.map_err(RunError::Sandbox)?;
        }
        Ok(Verdict::unverifiable(UnverifiableCause::SandboxFailed, None))
    }
}

/// A program that any sandbox can run.
fn harmless() -> CodeCase {
    CodeCase {
        tests: vec!["assert f() == 1".to_owned()],
        test_imports: Vec::new(),
        entry_point: None,
        question: "Write f, which returns 1.".to_owned(),
        response: "```python\ndef f():\n    return 1\n```".to_owned(),
    }
}
