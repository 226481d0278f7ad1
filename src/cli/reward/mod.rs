//! `thinkloom reward`
//!
//! The file is read twice: first for what the rule needs, a few bytes a rollout; then each row is written again with
//! its rewards. So memory does not hold completions, and rows of one query may stand anywhere.

mod files;
mod summary;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::args::refuse_overwriting;
use super::failure::{Failure, print};
use super::table::Table;
use crate::config;
use crate::engine::Vocabulary;
use crate::reward::{Deviation, LocalNormalization, Method, RewardSettings};

/// Arguments of `reward`.
#[derive(Debug, Args)]
#[command(
    after_help = "Rows of one query_id form a group. A row gives mode, correct and format_ok, or a completion with kind \
                  and gold, from which they are read and verified here; a run's rollouts serve as they are.\nThe forms \
                  of the bias adjustment and of the advantages are reconstructions; see `thinkloom help rewards`.\nExample: \
                  thinkloom reward --rollouts rollouts.jsonl -o rewards.jsonl --omega 0.05"
)]
pub(super) struct RewardArgs {
    /// JSON lines (also .gz, .zst), Parquet, a directory of Parquet files or of a run; - for JSON lines on stdin.
    #[arg(long, value_name = "FILE")]
    rollouts: PathBuf,
    /// Where the rows go, as JSON lines, or as Parquet if it ends in .parquet (from Parquet only); stdout otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
    /// A model (GGUF file or directory) whose tokenizer counts the tokens of judge block and completion.
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<PathBuf>,
    /// A config file, for its [verify] settings, if programs have to be run.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// With -o, print the summary as JSON.
    #[arg(long, requires = "output")]
    json: bool,
}

/// The constants and switches of the rule.
#[derive(Debug, Args)]
struct RuleArgs {
    /// What a well-formed response adds to its reward.
    #[arg(long, value_name = "W", default_value_t = 0.2)]
    format_weight: f64,
    /// Scale of the boost that Think-off gets where it is close to Think-on.
    #[arg(long, value_name = "W", default_value_t = 0.01)]
    omega: f64,
    /// Weight of the response's own reward in the advantage of the judge block.
    #[arg(long, value_name = "W", default_value_t = 0.3)]
    gamma: f64,
    /// Added to standard deviations before they divide.
    #[arg(long, value_name = "E", default_value_t = 1e-6)]
    epsilon: f64,
    /// Which standard deviation: population or sample.
    #[arg(long, value_name = "NAME", default_value_t = Deviation::Population)]
    deviation: Deviation,
    /// Ablation: no bias adjustment.
    #[arg(long)]
    no_bias_adjustment: bool,
    /// Ablation: the advantage of the judge block without the term that all responses of a mode share.
    #[arg(long)]
    no_global_term: bool,
    /// What normalises the answer's advantage: mode; as ablations group (the whole group) or none (no division).
    #[arg(long, value_name = "NAME", default_value_t = LocalNormalization::Mode)]
    local_normalization: LocalNormalization,
    /// hipo, or grpo: one advantage for all tokens, over the whole group.
    #[arg(long, value_name = "NAME", default_value_t = Method::Hipo)]
    method: Method,
}

impl RuleArgs {
    fn settings(&self) -> RewardSettings {
        RewardSettings {
            format_weight: self.format_weight,
            omega: self.omega,
            gamma: self.gamma,
            epsilon: self.epsilon,
            deviation: self.deviation,
            bias_adjustment: !self.no_bias_adjustment,
            global_term: !self.no_global_term,
            local_normalization: self.local_normalization,
            method: self.method,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &RewardArgs) -> Result<(), Failure> {
    let rule = args.rule.settings();
    if let Err(fault) = rule.check() {
        crate::telemetry::print_line(&format!("error: {fault}"));
        return Err(Failure::Code(2));
    }
    let verify = match &args.config {
        Some(path) => config::load(path, &[])?.settings.verify,
        None => config::VerifySettings::default(),
    };
    let summary = reward(args, &rule, verify).map_err(Failure::Other)?;
    let faults = summary.faults;
    if args.output.is_some() {
        print(&if args.json { summary.to_json() } else { summary.to_text() })?;
    } else {
        crate::telemetry::print_line(summary.to_text().trim_end());
    }
    if faults > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

fn reward(
    args: &RewardArgs,
    rule: &RewardSettings,
    verify: config::VerifySettings,
) -> anyhow::Result<summary::Summary> {
    let table = Table::open(&args.rollouts)?;
    let to_parquet =
        args.output.as_ref().is_some_and(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    if to_parquet && !table.is_parquet() {
        anyhow::bail!("Parquet is written from Parquet only; name an output that ends in .jsonl");
    }
    let vocabulary = match &args.tokenizer {
        Some(path) => Some(Vocabulary::load(path).with_context(|| "cannot use the tokenizer".to_owned())?),
        None => None,
    };
    refuse_overwriting(args.output.as_deref(), table.files().iter().map(|file| file.path.as_path()))?;
    let store = files::gather(&table, verify, vocabulary.as_ref())?;
    let rewarded = store.rewarded(rule);
    match &args.output {
        Some(path) if to_parquet => files::write_parquet(&table, &store, &rewarded, path)?,
        Some(path) => {
            let file = fs_err::File::create(path)?;
            files::write_lines(&table, &store, &rewarded, std::io::BufWriter::with_capacity(1 << 20, file))?;
        }
        None => {
            let stdout = std::io::stdout().lock();
            files::write_lines(&table, &store, &rewarded, std::io::BufWriter::with_capacity(1 << 16, stdout))?;
        }
    }
    Ok(summary::Summary::of(&store, &rewarded))
}
