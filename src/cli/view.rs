//! `thinkloom view`: serves the pages of a run to a browser on this machine.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::failure::{Failure, print};
use crate::ledger::Reader;
use crate::view;

/// Arguments of `view`.
#[derive(Debug, Args)]
#[command(
    after_help = "Serves 127.0.0.1 only, until Ctrl-C. A run may be in progress in the directory.\nExample: thinkloom view out --port 8321"
)]
pub(super) struct ViewArgs {
    /// The output directory of a run.
    dir: PathBuf,
    /// The port; 0 selects a free port.
    #[arg(long, default_value_t = 8321)]
    port: u16,
}

/// Runs the command.
pub(super) fn run(args: &ViewArgs) -> Result<(), Failure> {
    // Fail before opening the port if the directory has no run.
    drop(Reader::open(&args.dir)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Failure::other)?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await;
        let listener = listener
            .with_context(|| {
                format!("cannot listen on port {}; choose another with --port, or a free one with --port 0", args.port)
            })
            .map_err(Failure::Other)?;
        let address = listener.local_addr().map_err(Failure::other)?;
        print(&format!("http://{address}/ (press Ctrl-C to stop)\n"))?;
        tokio::select! {
            served = view::serve(&args.dir, listener) => served.map_err(Failure::other),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}
