//! `thinkloom report`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::{Failure, print};
use crate::report::{EMBEDDED_BYTES_MAX, Entry, PageOptions, collect, figures, page, published, whole_entries_of};
use crate::shards::{CARD_FILE, CardFacts, card};

/// The name of the report in the output directory.
const REPORT_FILE: &str = "report.html";

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "One self-contained file: figures, and a reader of the first 8 MiB of queries; `thinkloom view` shows all of \
                  them.\nExample: thinkloom report out"
)]
pub struct ReportArgs {
    /// The output directory of a run; a run may be going on in it.
    dir: PathBuf,
    /// Where the report goes; DIR/report.html otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &ReportArgs) -> Result<(), Failure> {
    let indices = published(&args.dir)?;
    let all = collect(&args.dir, &indices)?;
    if indices.is_empty() {
        return Err(Failure::Other(anyhow!(
            "{} has no published shard yet; `thinkloom status` shows how far it is",
            args.dir.display()
        )));
    }
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    'shards: for &index in &indices {
        for entry in whole_entries_of(&args.dir, index)? {
            bytes += serde_json::to_vec(&entry).map_err(Failure::other)?.len();
            if bytes > EMBEDDED_BYTES_MAX && !entries.is_empty() {
                break 'shards;
            }
            entries.push(entry);
        }
    }
    let (title, subtitle) = names(&args.dir, &all);
    let options = PageOptions { title: &title, subtitle: &subtitle, summary: &figures::figures(&all) };
    let html = page::file(&options, &entries, all.counts.queries);
    let target = args.output.clone().unwrap_or_else(|| args.dir.join(REPORT_FILE));
    write(&target, html.as_bytes()).map_err(Failure::Other)?;
    print(&format!("{}: {} of {} queries can be read in it\n", target.display(), entries.len(), all.counts.queries))?;
    if let Some(manifest) = &all.manifest {
        let license = license(&args.dir)?;
        let text = card(manifest, &CardFacts { judge_models: all.judge_models.clone(), license });
        write(&args.dir.join(CARD_FILE), text.as_bytes()).map_err(Failure::Other)?;
        print(&format!("{}: the dataset card\n", args.dir.join(CARD_FILE).display()))?;
    }
    Ok(())
}

/// Returns the title of a run's page, and a line about it.
pub(super) fn names(dir: &Path, all: &crate::report::Gathered) -> (String, String) {
    let name = dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned());
    let subtitle = all.manifest.as_ref().map_or_else(
        || "a run that is not finished: what is published so far".to_owned(),
        |manifest| format!("policy {}, fingerprint {}", manifest.policy.model, manifest.fingerprint),
    );
    (format!("thinkloom: {name}"), subtitle)
}

fn license(dir: &Path) -> Result<Option<String>, Failure> {
    let run = crate::ledger::Reader::open(dir)?.latest_run()?;
    let settings = run.and_then(|run| toml::from_str::<crate::config::Settings>(&run.settings).ok());
    Ok(settings.map(|settings| settings.output.license).filter(|license| !license.is_empty()))
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}
