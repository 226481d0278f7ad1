//! `thinkloom reward`: computes the rewards and advantages of rollouts.
//!
//! The command reads the file twice. The first pass keeps the few bytes per rollout that the rule needs; the second
//! pass copies each row and adds its rewards. So memory never holds the completions, and the rows of one query may be
//! anywhere.

mod files;
mod summary;

pub use files::token_bytes;

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::args::refuse_overwriting;
use super::failure::{Failure, print};
use super::table::Table;
use crate::config;
use crate::engine::Vocabulary;
use crate::reward::{Boost, Deviation, LocalNormalization, Method, RewardSettings};

/// Arguments of `reward`.
#[derive(Debug, Args)]
#[command(
    after_help = "The rows of one query_id form a group. A row has mode, correct and format_ok; or a completion, kind and \
                  gold, from which thinkloom computes them. The rollouts of a run need no change.\nThe formulas of the \
                  bias adjustment and of the advantages are reconstructions; see `thinkloom help rewards`.\nExample: \
                  thinkloom reward --rollouts rollouts.jsonl -o rewards.jsonl --omega 0.05"
)]
pub(super) struct RewardArgs {
    /// JSON lines (also .gz, .zst), Parquet, a directory of Parquet files or of a run; - reads JSON lines from stdin.
    #[arg(long, value_name = "FILE")]
    rollouts: PathBuf,
    /// The file for the rows: Parquet if it ends in .parquet (needs Parquet input), else JSON lines; default stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleArgs,
    /// A model (GGUF file or directory) whose tokenizer counts the tokens of the judge block and of the completion.
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<PathBuf>,
    /// A config file; its [verify] settings apply to answers and programs, its select.other_mode to forced responses.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the summary as JSON (needs -o).
    #[arg(long, requires = "output")]
    json: bool,
}

/// The constants and switches of the rule.
#[derive(Debug, Args)]
struct RuleArgs {
    /// The reward of a well-formed response, added to the reward of its answer.
    #[arg(long, value_name = "W", default_value_t = 0.2)]
    format_weight: f64,
    /// The scale of the bias adjustment, which raises Think-off if its mean is close to that of Think-on.
    #[arg(long, value_name = "W", default_value_t = 0.01)]
    omega: f64,
    /// What the bias adjustment adds: relative (omega x the mean of Think-on) or margin (omega itself, if Think-off is
    /// behind by less; set omega to select.tie_margin, and the reward agrees with the selection).
    #[arg(long, value_name = "NAME", default_value_t = Boost::Relative)]
    boost: Boost,
    /// thinkloom's own, not HiPO's: the weight of the preference for short ones among correct responses, 0 to 1; needs
    /// completion_tokens, token_ids or --tokenizer.
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    length_weight: f64,
    /// The weight of the response's own reward in the advantage of the judge block.
    #[arg(long, value_name = "W", default_value_t = 0.3)]
    gamma: f64,
    /// Added to standard deviations before dividing by them.
    #[arg(long, value_name = "E", default_value_t = 1e-6)]
    epsilon: f64,
    /// The kind of standard deviation: population or sample.
    #[arg(long, value_name = "NAME", default_value_t = Deviation::Population)]
    deviation: Deviation,
    /// Ablation: no bias adjustment.
    #[arg(long)]
    no_bias_adjustment: bool,
    /// Ablation: no global term (shared by all responses of a mode) in the advantage of the judge block.
    #[arg(long)]
    no_global_term: bool,
    /// The normalization of the answer's advantage: mode; as ablations, group (the whole group) or none (no division).
    #[arg(long, value_name = "NAME", default_value_t = LocalNormalization::Mode)]
    local_normalization: LocalNormalization,
    /// The method: hipo; or grpo, with one advantage for all tokens, over the whole group.
    #[arg(long, value_name = "NAME", default_value_t = Method::Hipo)]
    method: Method,
}

impl RuleArgs {
    fn settings(&self) -> RewardSettings {
        RewardSettings {
            format_weight: self.format_weight,
            omega: self.omega,
            boost: self.boost,
            length_weight: self.length_weight,
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
    let settings = match &args.config {
        Some(path) => config::load(path, &[])?.settings,
        None => config::Settings::default(),
    };
    let summary = reward(args, &rule, settings).map_err(Failure::Other)?;
    let faults = summary.faults;
    if args.output.is_some() {
        print(&if args.json { summary.to_json() } else { summary.to_text() })?;
    } else {
        crate::telemetry::print_line(summary.to_text().trim_end());
    }
    if faults > 0 { Err(Failure::Code(4)) } else { Ok(()) }
}

fn reward(args: &RewardArgs, rule: &RewardSettings, settings: config::Settings) -> anyhow::Result<summary::Summary> {
    let table = Table::open(&args.rollouts)?;
    let to_parquet =
        args.output.as_ref().is_some_and(|path| path.extension().is_some_and(|ending| ending == "parquet"));
    if to_parquet && !table.is_parquet() {
        anyhow::bail!("cannot write Parquet: the input is not Parquet; choose an output file that ends in .jsonl");
    }
    let vocabulary = match &args.tokenizer {
        Some(path) => Some(Vocabulary::load(path).with_context(|| "cannot load the tokenizer".to_owned())?),
        None => None,
    };
    refuse_overwriting(args.output.as_deref(), table.files().iter().map(|file| file.path.as_path()))?;
    let options = files::Options {
        vocabulary: vocabulary.as_ref(),
        needs_lengths: rule.length_weight > 0.0,
        other_mode: settings.select.other_mode,
    };
    let store = files::gather(&table, &settings.verify, options)?;
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
