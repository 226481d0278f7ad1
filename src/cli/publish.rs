//! `thinkloom publish`

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::failure::{Failure, print};
use crate::pipeline::{Context, PartialPublication, publish_settled};

/// Arguments of `publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "Loads no model and calls no server. Of an incomplete shard publish writes the settled queries, under \
                  the name of the complete shard; manifest.json marks it. `thinkloom run` later completes the shard, \
                  with the same bytes as an uninterrupted run. A stopped run publishes by itself; during a run, \
                  `thinkloom status` and `thinkloom view` show settled queries.\nExample: thinkloom publish out\n\
                  Guide: thinkloom help recovery"
)]
pub(super) struct PublishArgs {
    /// The output directory of a run that is not in progress.
    dir: PathBuf,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &PublishArgs) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    let (publication, queries) = runtime.block_on(async {
        let dir = args.dir.clone();
        let opened = tokio::task::spawn_blocking(move || Context::open_to_publish(&dir)).await;
        let context = Arc::new(opened.map_err(Failure::other)??);
        Ok::<_, Failure>((publish_settled(&context, Duration::MAX).await?, context.run.rows))
    })?;
    print(&if args.json {
        let PartialPublication { counts, parts, .. } = &publication;
        format!("{:#}\n", serde_json::json!({"counts": counts, "partial_shards": parts}))
    } else {
        format!("{}\n", to_text(&publication, queries, &args.dir.display().to_string()))
    })
}

/// Returns a line about the published queries and shards.
pub(super) fn to_text(publication: &PartialPublication, queries: u64, dir: &str) -> String {
    let PartialPublication { counts, parts, left } = publication;
    let settled = counts.samples + counts.exclusions;
    let mut text = format!(
        "published {settled} of {queries} queries in {dir}: {} samples, {} exclusions",
        counts.samples, counts.exclusions
    );
    if *parts > 0 {
        text.push_str(&format!(
            "; {parts} {} incomplete, the run will complete them",
            if *parts == 1 { "shard is" } else { "shards are" }
        ));
    }
    if *left > 0 {
        text.push_str(&format!("; {left} more shards have settled queries: `thinkloom publish {dir}` writes them"));
    }
    text
}
