//! `thinkloom redecide`

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, print};
use crate::pipeline::{Diff, Judging, RedecideOptions, Redecision, SensitivityRow, redecide};
use crate::sys::memory::bound_arenas;

/// Queries that are listed for people; `--json` lists all.
const LISTED_MAX: usize = 10;

/// Arguments of `redecide`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: thinkloom redecide out -o out-strict --set select.tie_margin=0.25 --set difficulty.easy_off_min=0.9\n\n\
                  Takes other select, difficulty, verify and judge settings, and a smaller sampling.samples_per_mode.\n\
                  Samples whose mode changed have no justification yet (justification_status = outstanding);\n\
                  --judge requests it from an API judge; a later `thinkloom run -c FILE -o out-strict --reconfigure` \
                  also does.\n\
                  Guide: thinkloom help selection"
)]
pub(super) struct RedecideArgs {
    /// The output directory of a run; it is not changed.
    dir: PathBuf,
    /// The output directory of the new selection.
    #[arg(short, long, value_name = "DIR2")]
    output: PathBuf,
    /// Override a setting of the last run, for example --set select.tie_margin=0.2 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Request missing justifications from the judge.
    #[arg(long)]
    judge: bool,
    /// Print the diff and the table as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &RedecideArgs) -> Result<(), Failure> {
    bound_arenas();
    let options = RedecideOptions {
        dir: args.dir.clone(),
        out_dir: args.output.clone(),
        overrides: args.overrides.clone(),
        judging: if args.judge { Judging::Asked } else { Judging::Read },
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    let redecision = runtime.block_on(redecide(options, CancellationToken::new()))?;
    print(&if args.json {
        format!("{:#}\n", serde_json::json!(redecision))
    } else {
        to_text(&redecision, &args.output.display().to_string())
    })
}

fn to_text(redecision: &Redecision, dir: &str) -> String {
    let Redecision { counts, diff, sensitivity, sensitivity_queries, sensitivity_incomplete } = redecision;
    let mut text = format!(
        "{} queries = {} samples + {} exclusions, written to {dir}\n",
        counts.queries, counts.samples, counts.exclusions
    );
    text.push_str(&diff_text(diff));
    if diff.justifications_outstanding > 0 {
        text.push_str(&format!(
            "{} samples have no justification yet (justification_status = outstanding); use --judge, or `thinkloom \
             run` on {dir} with --reconfigure\n",
            diff.justifications_outstanding
        ));
    }
    text.push_str(&format!("\nsensitivity, over {sensitivity_queries} queries"));
    if *sensitivity_incomplete > 0 {
        text.push_str(&format!(" (without {sensitivity_incomplete} queries that lack stored responses)"));
    }
    text.push_str("\n  N per mode  tie margin   samples  think-on  same mode  mean tokens\n");
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", 100.0 * share));
    for row in sensitivity {
        let SensitivityRow { tie_margin, samples_per_mode, samples, think_on_share, same_mode_share, mean_tokens } =
            row;
        let tokens = mean_tokens.map_or_else(|| "-".to_owned(), |tokens| format!("{tokens:.1}"));
        text.push_str(&format!(
            "  {samples_per_mode:>10}  {tie_margin:>10.2}  {samples:>8.1}  {:>8}  {:>9}  {tokens:>11}\n",
            percent(*think_on_share),
            percent(*same_mode_share)
        ));
    }
    text
}

fn diff_text(diff: &Diff) -> String {
    let Diff { same, other_response, other_difficulty, changed_mode, joined, left, unsettled_before, .. } = diff;
    let mut text = format!(
        "compared with the old selection: {same} the same, {} changed mode, {other_response} another response, {} \
         joined, {} left; {other_difficulty} another difficulty\n",
        changed_mode.len(),
        joined.len(),
        left.len()
    );
    if *unsettled_before > 0 {
        text.push_str(&format!("{unsettled_before} queries were not settled before and are not compared\n"));
    }
    let mut list = |name: &str, all: Vec<String>| {
        for line in all.iter().take(LISTED_MAX) {
            text.push_str(&format!("  {name:<8} {line}\n"));
        }
        if all.len() > LISTED_MAX {
            text.push_str(&format!("  {name:<8} and {} more (--json lists all)\n", all.len() - LISTED_MAX));
        }
    };
    let changes =
        changed_mode.iter().map(|change| format!("{}: {} -> {}", change.query_id, change.before, change.after));
    list("mode", changes.collect());
    list("joined", joined.clone());
    list("left", left.iter().map(|(id, reason)| format!("{id}: {reason}")).collect());
    text
}
