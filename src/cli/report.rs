//! `thinkloom report`

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::failure::{Failure, print};
use crate::domain::digest::sha256;
use crate::ledger::Reader;
use crate::pipeline::{Context, Responses, RunError, inventory, standing};
use crate::report::{
    EMBEDDED_BYTES_MAX, Entry, PageOptions, collect, complete, figures, page, standing_entry, whole_entries_of,
};
use crate::shards::seal::{self, Comment, sealed};
use crate::shards::{CARD_FILE, CardFacts, Table, card};
use crate::sys::staged::write_whole;
use crate::telemetry::print_line;

/// The name of the report in the output directory.
const REPORT_FILE: &str = "report.html";
/// The prefix of the name of an unfinished file.
const STAGED_PREFIX: &str = ".thinkloom-report-";

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "One self-contained file: figures, and up to 8 MiB of queries, failed queries first; `thinkloom view` \
                  shows all queries. The command first compares the published files with manifest.json.\nExample: \
                  thinkloom report out\n\
                  Guide: thinkloom help data"
)]
pub(super) struct ReportArgs {
    /// The output directory of a run, which may be in progress.
    dir: PathBuf,
    /// The output file; default: DIR/report.html.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let found = inventory(&args.dir)?;
    if let Some(problems) = found.problems() {
        return Err(Failure::Other(anyhow!(
            "{} differs from its manifest: {problems} (hint: `thinkloom run` with the run's config writes such files \
             again)",
            args.dir.display()
        )));
    }
    if let Some(warning) = found.extra_warning() {
        print_line(&warning);
    }
    let is_finished = found.is_finished();
    let mut all = collect(&args.dir, &found.shards)?;
    all.manifest = found.manifest;
    if found.shards.is_empty() {
        return Err(Failure::Other(anyhow!(
            "{} has no published shard yet (hint: `thinkloom publish` writes the settled queries, `thinkloom status` \
             counts them)",
            args.dir.display()
        )));
    }
    if let (false, Some((settled, queries))) = (is_finished, found.progress) {
        print_line(&format!(
            "warning: the run is not finished: the figures cover the {settled} of {queries} queries that are published"
        ));
    }
    let (entries, queries) = embedded(&args.dir, &found.shards)?;
    let (title, subtitle) = names(&args.dir, &all);
    let options = PageOptions { title: &title, subtitle: &subtitle, summary: &figures::figures(&all) };
    let html = sealed(&page::file(&options, &entries, queries), Comment::Markup);
    let target = args.output.clone().unwrap_or_else(|| args.dir.join(REPORT_FILE));
    write(&target, html.as_bytes()).map_err(Failure::Other)?;
    print(&format!("{}: the report, with {} of {queries} queries\n", target.display(), entries.len()))?;
    if let Some(manifest) = &all.manifest {
        let license = license(&args.dir)?;
        let text = card(manifest, &CardFacts { judge_models: all.judge_models.clone(), license });
        let text = sealed(&text, Comment::Markup);
        write(&args.dir.join(CARD_FILE), text.as_bytes()).map_err(Failure::Other)?;
        print(&format!("{}: the dataset card\n", args.dir.join(CARD_FILE).display()))?;
    }
    Ok(())
}

/// Returns the queries for the file, with their responses, and the number of all queries. Every shard gets an equal
/// share of the space, failed queries first. The queries of incomplete shards come from the facts.
fn embedded(dir: &Path, published: &[u32]) -> Result<(Vec<Entry>, u64), Failure> {
    let reader = Reader::open(dir)?;
    let run = reader.latest_run()?.ok_or_else(|| RunError::NoRun { dir: dir.display().to_string() })?;
    // If the facts cannot be used, only the published files remain.
    let context = Context::look(dir, &reader, run.clone()).ok();
    let records = reader.shards(&run.fingerprint)?;
    let is_whole = |index: u64| records.iter().filter(|record| record.index == index).count() == Table::ALL.len();
    let (mut shards, mut queries) = (Vec::new(), 0);
    match &context {
        None => shards.extend(published.iter().map(|&index| (u64::from(index), true))),
        Some(context) => {
            queries = context.run.rows;
            let (whole, open): (Vec<u64>, Vec<u64>) =
                (0..context.run.shard_count()).partition(|&index| is_whole(index));
            let (begun, _) = standing::begun(&context.run.record, &reader, &open)?;
            shards.extend(whole.into_iter().map(|index| (index, true)));
            shards.extend(begun.into_iter().map(|index| (index, false)));
        }
    }
    let (mut entries, mut room, mut left) = (Vec::new(), EMBEDDED_BYTES_MAX, shards.len());
    for (index, is_published) in shards {
        let mut of_shard = match (&context, is_published) {
            (Some(context), false) => {
                let mut found = Vec::new();
                let range = context.run.shard_range(index);
                standing::for_each_standing(context, &reader, range, Responses::Wanted, &mut |standing| {
                    found.push(standing_entry(standing));
                    Ok(())
                })?;
                found
            }
            _ => whole_entries_of(dir, u32::try_from(index).unwrap_or(u32::MAX))?,
        };
        complete(&mut of_shard, &reader, &run)?;
        if context.is_none() {
            queries += of_shard.len() as u64;
        }
        of_shard.sort_by_key(|entry| (entry.rank, entry.ordinal));
        let share = room / left.max(1);
        left -= 1;
        let mut taken = 0;
        for entry in of_shard {
            let bytes = serde_json::to_vec(&entry).map_err(Failure::other)?.len();
            if taken + bytes > share && !entries.is_empty() {
                break;
            }
            taken += bytes;
            entries.push(entry);
        }
        room = room.saturating_sub(taken);
    }
    entries.sort_by_key(|entry: &Entry| entry.ordinal);
    Ok((entries, queries))
}

/// Returns the title of a run's page, and a line about the run.
pub(super) fn names(dir: &Path, all: &crate::report::Gathered) -> (String, String) {
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    let subtitle = all.manifest.as_ref().map_or_else(
        || "an unfinished run: the published queries".to_owned(),
        |manifest| {
            let state = match manifest.outstanding {
                0 => String::new(),
                count => format!("not finished, {count} of {} queries outstanding; ", manifest.counts.queries),
            };
            format!("{state}policy {}, fingerprint {}", manifest.policy.model, manifest.fingerprint)
        },
    );
    (format!("thinkloom: {name}"), subtitle)
}

fn license(dir: &Path) -> Result<Option<String>, Failure> {
    let run = crate::ledger::Reader::open(dir)?.latest_run()?;
    let settings = run.and_then(|run| toml::from_str::<crate::config::Settings>(&run.settings).ok());
    Ok(settings.map(|settings| settings.output.license).filter(|license| !license.is_empty()))
}

/// Writes a file atomically. A file that was edited since it was written is first renamed.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    match fs_err::read(path) {
        Ok(found) if found != bytes && !seal::is_sealed(&found) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let aside = seal::aside(&name, &sha256(&found));
            print_line(&format!(
                "warning: {name} was edited; the edited file is now {aside}, and {name} is written \
                                 again"
            ));
            fs_err::rename(path, path.with_file_name(aside))?;
        }
        _ => {}
    }
    Ok(write_whole(path, STAGED_PREFIX, bytes)?)
}
