//! `thinkloom serve`

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use secrecy::SecretString;
use tokio::net::TcpListener;

use super::args::ConfigArgs;
use super::failure::Failure;
use super::models;
use super::stopping::Stopping;
use crate::config::{LoadedConfig, PolicyBackend, key_name_problem};
use crate::pipeline::{memory, open_policy};
use crate::policy::{CandlePolicy, Policy};
use crate::reward::RewardSettings;
use crate::serve::{App, Common, DRAIN_DEADLINE, ServeOptions, Service, serve};
use crate::sys::hosts::{Hosts, is_loopback, is_name};
use crate::sys::memory::bound_arenas;

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "OpenAI-compatible: /v1/chat/completions, /v1/completions, /v1/models; for trainers: /v1/reward, \
                  /openrlhf/reward; also /health and /metrics. Base URL for clients: \
                  http://127.0.0.1:8000/v1\nExample: thinkloom serve -c thinkloom.toml --listen 127.0.0.1:8000\nExample: \
                  thinkloom serve --rewards-only\nGuide: thinkloom help serve, rewards"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Host no model: /v1/reward and /openrlhf/reward alone. Needs no config file; if there is one, its [verify] and
    /// select.other_mode apply.
    #[arg(long)]
    rewards_only: bool,
    /// Address and port; port 0 chooses a free port, which the first line on stdout names.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// The most responses that wait for a slot; the server rejects more with 429.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=65536))]
    queue_max: u32,
    /// The environment variable with the key that clients must send; without it the server requires no key.
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// A further host name of the server, of a proxy or container for example; without a port it is valid for any port
    /// (repeatable). The server still rejects pages of other servers.
    #[arg(long = "allow-host", value_name = "NAME")]
    allow_hosts: Vec<String>,
    /// Require no key although other machines can reach the address. Any such machine can then use the model and run
    /// programs.
    #[arg(long, conflicts_with = "api_key_env")]
    insecure: bool,
}

/// Runs the command.
pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let stopping = Stopping::watch(None)?;
    let config = if args.rewards_only { args.config.load_or_default()? } else { args.config.load()? };
    let settings = config.settings.clone();
    if args.rewards_only && args.config.config.exists() {
        tracing::info!("[verify] and select.other_mode are those of {}", args.config.config.display());
    }
    if !args.rewards_only && settings.policy.backend != PolicyBackend::Candle {
        return usage(
            "serve needs a hosted model: set policy.backend = \"candle\", or use --rewards-only for the reward rule alone",
        );
    }
    if let Some(problem) = args.api_key_env.as_deref().and_then(key_name_problem) {
        return usage(&format!("--api-key-env {problem}"));
    }
    let api_key = match &args.api_key_env {
        None => None,
        Some(name) => match std::env::var(name).ok().filter(|key| !key.trim().is_empty()) {
            Some(key) => Some(SecretString::from(key)),
            None => return usage(&format!("the environment variable {name} is empty or not set")),
        },
    };
    if !is_loopback(args.listen.ip()) && api_key.is_none() {
        if !args.insecure {
            return usage(&format!(
                "other machines can reach {} without a key: set one with --api-key-env NAME, or use --insecure",
                args.listen
            ));
        }
        tracing::warn!("other machines can reach {} without a key (--insecure)", args.listen);
    }
    if let Some(name) = args.allow_hosts.iter().find(|name| !is_name(name)) {
        return usage(&format!(
            "--allow-host {name}: expected NAME or NAME:PORT; for an IPv6 address with a port, [ADDRESS]:PORT"
        ));
    }
    // Many threads allocate for large requests.
    bound_arenas();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().map_err(Failure::other)?;
    let result = runtime.block_on(async {
        let stop = stopping.token();
        // Bind before the model is loaded, which takes seconds.
        let listener = TcpListener::bind(args.listen).await.map_err(|error| {
            Failure::Other(anyhow::anyhow!("cannot listen on {}: {error}; choose another with --listen", args.listen))
        })?;
        let policy = if args.rewards_only { None } else { Some(hosted(&stopping, config).await?) };
        let address = listener.local_addr().map_err(Failure::other)?;
        stopping.finishes("finishing the responses in progress", Some(DRAIN_DEADLINE), std::time::Duration::ZERO);
        let options = ServeOptions {
            queue_max: args.queue_max as usize,
            hosts: Hosts::new(address, &args.allow_hosts),
            api_key,
            reward: RewardSettings::default(),
            verify: settings.verify.clone(),
            other_mode: settings.select.other_mode,
        };
        let common = Common::new(options, stop);
        let service = match policy {
            Some(policy) => Service::Model(App::new(policy, common)),
            None => Service::Rewards(common),
        };
        // Scripts wait for this line.
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()).map_err(Failure::other)?;
        serve(service, listener).await;
        Ok(())
    });
    // A request that is still computing must not delay the exit.
    runtime.shutdown_background();
    result
}

/// Loads the model of a config.
async fn hosted(stopping: &Stopping, config: LoadedConfig) -> Result<Arc<CandlePolicy>, Failure> {
    let (hub, on_download, stop) = (models::hub_settings(), models::on_download(), stopping.token());
    let settings = config.settings.policy.clone();
    let policy = stopping.unless_stopped(move || Ok(open_policy(&config, &hub, &on_download, &stop)?)).await?;
    let Policy::Candle(policy) = policy else {
        return Err(Failure::Other(anyhow::anyhow!("the policy of the config is not hosted here")));
    };
    let engine = policy.engine();
    let (description, positions) = (engine.description(), engine.config().context);
    tracing::info!("{}: {}", policy.identity().model, memory::describe(&description, &settings, positions));
    Ok(policy)
}

fn usage(message: &str) -> Result<(), Failure> {
    crate::telemetry::print_line(&format!("error: {message}"));
    Err(Failure::Code(2))
}
