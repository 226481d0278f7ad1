//! `thinkloom doctor`

use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::args::ConfigArgs;
use super::failure::{Failure, print, with_hint};
use super::{doctor_ask, models, rows};
use crate::config::{JudgeBackend, LoadedConfig, PolicyBackend, Settings};
use crate::domain::{Kind, ResolvedModel};
use crate::engine::{DeviceChoice, Vocabulary};
use crate::hub::{self, HubError, ModelReference, Plan};
use crate::ingest::{self, InputOptions};
use crate::pipeline::programs::sandbox_options;
use crate::pipeline::{RunError, memory, open_api_judge, open_api_policy};
use crate::policy::{self, CandlePolicy};
use crate::sys::files::{free_bytes, lock_dir};
use crate::verify::sandbox::{LayerCheck, Sandbox};

/// Time-out for a connection to a server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// With less free space a run is likely to end early.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: thinkloom doctor -c thinkloom.toml\nGuide: thinkloom help data, models, judge, servers, sandbox"
)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The output directory; default: output.dir of the config.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Send small requests to the policy's servers and the judge, and print whether they reply and which request keys
    /// they reject. The requests may cost a fraction of a cent.
    #[arg(long)]
    ask: bool,
}

/// One check and its result.
struct Check {
    what: &'static str,
    result: Result<String, String>,
}

/// Runs the command.
pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let out_dir = args.output.clone().unwrap_or_else(|| config.dir.join(&config.settings.output.dir));
    let checks = [
        Check { what: "input", result: check_input(&config) },
        Check { what: "output", result: check_output(&out_dir) },
        Check { what: "memory", result: check_memory(&config) },
        Check { what: "model", result: check_model(&config, args.ask) },
        Check { what: "device", result: Ok(describe_device(&config)) },
        Check { what: "judge", result: check_judge(&config, args.ask) },
    ];
    let checks: Vec<Check> = checks.into_iter().chain(check_sandbox(&config)).collect();
    let line = |check: &Check| match &check.result {
        Ok(detail) => format!("ok       {:<8} {detail}\n", check.what),
        Err(detail) => format!("missing  {:<8} {detail}\n", check.what),
    };
    print(&checks.iter().map(line).collect::<String>())?;
    if checks.iter().all(|check| check.result.is_ok()) { Ok(()) } else { Err(Failure::Code(1)) }
}

/// Checks every layer of the sandbox.
fn check_sandbox(config: &LoadedConfig) -> Vec<Check> {
    let not_needed = config.settings.input.kind.is_some_and(|kind| kind != Kind::Code);
    if not_needed {
        return vec![Check { what: "sandbox", result: Ok("not needed: input.kind is not code".to_owned()) }];
    }
    let survey = Sandbox::survey(&sandbox_options(&config.settings.verify)).into_iter();
    let checks = survey.map(|LayerCheck { layer, state }| {
        let name = layer.name();
        let result = match state {
            Ok(detail) => Ok(format!("{name}: {detail}")),
            Err(detail) => {
                let hint = format!("{} (only queries of kind code need it)", layer.hint());
                Err(with_hint(format!("{name}: {detail}"), Some(&hint)))
            }
        };
        Check { what: "sandbox", result }
    });
    checks.collect()
}

fn check_input(config: &LoadedConfig) -> Result<String, String> {
    let files = ingest::expand_paths(&config.settings.input.paths, &config.base_dirs())
        .map_err(|error| with_hint(&error, error.hint()))?;
    if files.is_empty() {
        return Err("input.paths is empty".to_owned());
    }
    let told = |error: ingest::IngestError| with_hint(&error, error.hint());
    let plan = ingest::Plan::settle(&files, &InputOptions::from(&config.settings.input)).map_err(told)?;
    let lines = rows::describe(&files, &plan).map_err(told)?;
    let answers = plan.describe_answers(&files).map(|found| format!("\n  answers of choice questions: {found}"));
    Ok(format!("{}{}", lines.join("\n"), answers.unwrap_or_default()))
}

fn check_output(dir: &Path) -> Result<String, String> {
    let existed = dir.exists();
    let lock = lock_dir(dir).map_err(|error| with_hint(&error, Some(error.hint())))?;
    let free = free_bytes(dir);
    drop(lock);
    if !existed {
        // The check must leave no directory behind; a directory that got files meanwhile is not removed.
        let _ = fs_err::remove_file(dir.join(".lock"));
        let _ = fs_err::remove_dir(dir);
    }
    match free {
        Some(free) if free < FREE_BYTES_MIN => {
            Err(format!("{} has {} MiB free; hint: free some space", dir.display(), free >> 20))
        }
        Some(free) => Ok(format!("{} is writable, {} GiB free", dir.display(), free >> 30)),
        None => Ok(format!("{} is writable", dir.display())),
    }
}

fn check_memory(config: &LoadedConfig) -> Result<String, String> {
    let policy = &config.settings.policy;
    if policy.backend == PolicyBackend::Openai {
        return Ok("decided by the servers".to_owned());
    }
    memory::check(policy).map_err(|error| {
        let error = RunError::from(error);
        with_hint(&error, error.hint().as_deref())
    })?;
    Ok(format!("{} MiB of keys and values fit", policy.kv_cache_mib))
}

/// Loads the model if it is on this machine; otherwise describes the download that a run would make. Downloads nothing.
fn check_model(config: &LoadedConfig, asks: bool) -> Result<String, String> {
    if config.settings.policy.backend == PolicyBackend::Openai {
        return check_servers(config, asks);
    }
    let settings = models::hub_settings();
    let told = |error: HubError| with_hint(&error, Some(error.hint()));
    let reference = ModelReference::parse(&config.settings.policy.model, &config.base_dirs()).map_err(told)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    match runtime.block_on(hub::plan(&reference, &settings)).map_err(told)? {
        Plan::Ready(model) => check_found_model(config, &model),
        Plan::Fetch(fetch) => {
            fetch.check_space().map_err(told)?;
            let licence = if fetch.is_gated() && settings.token.is_none() {
                "; the model is gated: accept its licence on its Hub page and set HF_TOKEN"
            } else {
                ""
            };
            Ok(format!(
                "{} (commit {}) is not on this machine: a run will download {} files, {} bytes ({} MiB), from {} to \
                 {}{licence}",
                fetch.name(),
                fetch.commit(),
                fetch.file_count(),
                fetch.bytes(),
                fetch.bytes().div_ceil(1 << 20),
                settings.endpoint,
                settings.cache_dir.display()
            ))
        }
    }
}

fn check_found_model(config: &LoadedConfig, model: &ResolvedModel) -> Result<String, String> {
    let policy = CandlePolicy::load(model, &config.settings.policy, &config.settings.sampling)
        .map_err(|error| with_hint(&error, error.hint()))?;
    let (identity, engine) = (policy.identity(), policy.engine());
    let origin =
        model.commit.as_ref().map(|commit| format!("{}, commit {commit}, in ", model.name)).unwrap_or_default();
    Ok(format!(
        "{origin}{}: context {}, {}, {} MiB of weights in memory, preset {}, SHA-256 {}",
        model.path.display(),
        engine.config().context,
        describe_rows(engine.vocabulary(), engine.config().vocabulary),
        engine.weight_bytes() >> 20,
        identity.preset,
        identity.revision
    ))
}

/// Returns the number of tokens, and the number of rows of the embedding without a token.
fn describe_rows(vocabulary: &Vocabulary, rows: usize) -> String {
    let nameless = vocabulary.rows_without_token(rows).len();
    let tokens = rows - nameless;
    match nameless {
        0 => format!("{tokens} tokens"),
        1 => format!("{tokens} tokens (1 more row of the embedding has no token and is never sampled)"),
        _ => format!("{tokens} tokens ({nameless} more rows of the embedding have no token and are never sampled)"),
    }
}

/// Returns the name of the chosen device; the check of the model shows whether the device works.
fn describe_device(config: &LoadedConfig) -> String {
    if config.settings.policy.backend == PolicyBackend::Openai {
        return "decided by the servers".to_owned();
    }
    match policy::device(config.settings.policy.device) {
        DeviceChoice::Cpu => {}
        DeviceChoice::Cuda(index) => return format!("cuda:{index}"),
        DeviceChoice::Metal => return "metal".to_owned(),
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // The variant's name is the instruction set (V3: AVX2 and FMA); its fields are the features of the set.
    let simd = format!("{:?}", pulp::Arch::new());
    let simd = simd.split('(').next().unwrap_or_default();
    format!("cpu, {cores} cores, SIMD level {simd}")
}

/// Checks whether the policy's servers accept connections. Sends a request only if `asks` is set.
fn check_servers(config: &LoadedConfig, asks: bool) -> Result<String, String> {
    let Settings { policy, sampling, .. } = &config.settings;
    let opened = open_api_policy(policy, sampling).map_err(|error| with_hint(&error, error.hint().as_deref()))?;
    for base_url in &policy.base_urls {
        connect(base_url, "policy.base_urls")?;
    }
    let asked = if asks { format!("; {}", doctor_ask::policy(&config.settings)?) } else { String::new() };
    let key = match std::env::var(&policy.api_key_env) {
        Err(_) => "no key",
        Ok(_) if asks => "a key is set",
        Ok(_) => "a key is set but not tested (--ask tests it)",
    };
    Ok(format!(
        "{} accepts connections; {key}; model {}, preset {}{asked}",
        policy.base_urls.join(", "),
        policy.model,
        opened.identity().preset
    ))
}

/// Checks whether the judge's servers accept connections and whether the key is set. Sends a request only if `asks` is
/// set.
fn check_judge(config: &LoadedConfig, asks: bool) -> Result<String, String> {
    let settings = &config.settings.judge;
    match settings.backend {
        JudgeBackend::None => return Ok("none".to_owned()),
        JudgeBackend::Policy => return Ok("the policy model itself".to_owned()),
        JudgeBackend::Openai => {}
    }
    open_api_judge(settings).map_err(|error| with_hint(&error, error.hint().as_deref()))?;
    for base_url in std::iter::once(&settings.base_url).chain(&settings.more_base_urls) {
        connect(base_url, "judge.base_url")?;
    }
    let asked =
        if asks { doctor_ask::judge(&config.settings)? } else { "the key is not tested (--ask tests it)".to_owned() };
    Ok(format!("{} accepts connections; {asked}", settings.base_url))
}

/// Opens a connection to a server and closes it; `key` is the setting with the server's URL.
fn connect(base_url: &str, key: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(base_url).map_err(|error| format!("{key}: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let hint = format!("hint: check {key} and the network");
    let mut addresses = (host.as_str(), port).to_socket_addrs().map_err(|error| format!("{host}: {error}; {hint}"))?;
    if addresses.any(|address| std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()) {
        return Ok(());
    }
    Err(format!("{host} does not accept connections on port {port}; {hint}"))
}
