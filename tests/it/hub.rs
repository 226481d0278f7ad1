//! Tests models from the Hub: lookup, download, resumed download, rejection. A local server plays the Hub.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use thinkloom::domain::ResolvedModel;
use thinkloom::http::retry::Backoff;
use thinkloom::hub::{self, HubError, HubSettings, ModelReference, Network, OnProgress, Plan, Progress};

use crate::support::{
    Fault, HubServer, Outcome, Running, Workspace, files_below, fixture, program, rows, sha256, small_hash, text, until,
};

const ID: &str = "tiny/llama";
const TOKEN: &str = "hf_very_secret_0123456789";
const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

/// A Hub with a model, and a cache.
struct Scene {
    server: HubServer,
    folder: tempfile::TempDir,
    settings: HubSettings,
}

fn weights(seed: u8) -> Vec<u8> {
    (0..3_000_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect()
}

fn index() -> String {
    format!(r#"{{"weight_map": {{"a": "{FIRST}", "b": "{SECOND}"}}}}"#)
}

impl Scene {
    /// A model of two safetensors files among files that are not wanted, in more than one page of a listing.
    fn directory() -> Self {
        let (first, second, index) = (weights(1), weights(2), index());
        Self::new(&[
            ("README.md", b"# read me"),
            ("config.json", b"{}"),
            (FIRST, &first),
            (SECOND, &second),
            (INDEX, index.as_bytes()),
            ("original/model.safetensors", b"a duplicate"),
            ("pytorch_model.bin", b"a duplicate"),
            ("tokenizer.json", b"{\"model\": {}}"),
            ("tokenizer_config.json", b"{ }"),
        ])
    }

    /// A repository of two GGUF files.
    fn gguf() -> Self {
        let tiny = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
        Self::new(&[("README.md", b"# read me"), ("other.gguf", b"GGUF"), ("tiny-llama.gguf", &tiny)])
    }

    fn new(files: &[(&str, &[u8])]) -> Self {
        let server = HubServer::start(ID, files);
        let folder = tempfile::TempDir::with_prefix("thinkloom-hub-").unwrap();
        let settings = HubSettings {
            cache_dir: folder.path().join("hub"),
            endpoint: server.endpoint(),
            token: None,
            network: Network::Online,
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
            attempts_max: 3,
            silence_max: Duration::from_secs(30),
        };
        Self { server, folder, settings }
    }

    fn repo(&self) -> PathBuf {
        self.settings.cache_dir.join("models--tiny--llama")
    }

    fn incomplete(&self, bytes: &[u8]) -> PathBuf {
        self.repo().join("blobs").join(format!("{}.incomplete", sha256(bytes)))
    }

    /// Leaves what an interrupted download would have left.
    fn leave_incomplete(&self, bytes: &[u8], part: &[u8]) {
        std::fs::create_dir_all(self.repo().join("blobs")).unwrap();
        std::fs::write(self.incomplete(bytes), part).unwrap();
    }

    fn resolve(&self, model: &str) -> Result<ResolvedModel, HubError> {
        resolve(model, &self.settings, &OnProgress::new(|_| {}))
    }

    /// Asserts that the snapshot of `commit` holds exactly the files of the model, linked to their blobs.
    fn assert_whole(&self, model: &ResolvedModel, commit: &str) {
        assert_eq!(model.commit.as_deref(), Some(commit));
        assert_eq!(model.path, self.repo().join("snapshots").join(commit));
        let names: Vec<String> = files_below(&model.path).iter().map(|path| file_name(path)).collect();
        assert_eq!(names, ["config.json", FIRST, SECOND, INDEX, "tokenizer.json", "tokenizer_config.json"]);
        for (name, bytes) in [(FIRST, weights(1)), (SECOND, weights(2)), (INDEX, index().into_bytes())] {
            assert!(std::fs::read(model.path.join(name)).unwrap() == bytes, "{name}");
        }
        let link = std::fs::read_link(model.path.join(FIRST)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(sha256(&weights(1))));
        let link = std::fs::read_link(model.path.join("config.json")).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(small_hash(b"{}")));
        assert_eq!(std::fs::read_to_string(self.repo().join("refs/main")).unwrap(), commit);
        let left: Vec<PathBuf> = files_below(&self.repo()).into_iter().filter(|path| is_staged(path)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn is_staged(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "incomplete" || ending == "staged")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn resolve(model: &str, settings: &HubSettings, on_progress: &OnProgress) -> Result<ResolvedModel, HubError> {
    let reference = ModelReference::parse(model, std::slice::from_ref(&settings.cache_dir))?;
    block_on(hub::resolve(&reference, settings, on_progress))
}

#[track_caller]
fn assert_error(result: Result<ResolvedModel, HubError>, parts: &[&str]) {
    let error = result.expect_err("it must be refused");
    let said = format!("{error}; {}", error.hint());
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
    assert!(!said.contains(TOKEN) && !format!("{error:?}").contains(TOKEN), "{said}");
}

#[test]
fn a_directory_is_downloaded_whole_and_found_again_with_one_request() {
    let scene = Scene::directory();
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let on_progress = OnProgress::new({
        let told = Arc::clone(&told);
        move |progress| told.lock().unwrap().push(progress)
    });
    let model = resolve(ID, &scene.settings, &on_progress).unwrap();
    scene.assert_whole(&model, &scene.server.main());
    assert_eq!(model.name, ID);
    let told = told.lock().unwrap();
    let last = told.last().unwrap();
    assert!(last.done == last.total && last.total > 6_000_000, "{last:?}");
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done), "nothing is counted twice");
    let unwanted = ["README.md", "original", "pytorch_model"];
    let seen = scene.server.seen();
    assert!(seen.iter().all(|seen| unwanted.iter().all(|name| !seen.path.contains(name))), "{seen:?}");
    assert_eq!(seen.iter().filter(|seen| seen.path.contains("/tree/")).count(), 3, "all pages are read");

    scene.server.forget();
    let again = scene.resolve(ID).unwrap();
    assert_eq!(again, model);
    assert_eq!(scene.server.seen().len(), 1);
    let at_commit = scene.resolve(&format!("{ID}@{}", scene.server.main())).unwrap();
    assert_eq!(at_commit.path, model.path);
    assert_eq!(scene.server.seen().len(), 1, "a cached commit needs no request");
}

#[test]
fn a_named_gguf_is_downloaded_alone_and_an_unnamed_one_of_several_is_refused_with_their_names() {
    let scene = Scene::gguf();
    assert_error(
        scene.resolve(ID),
        &["policy.model names no file", "other.gguf, tiny-llama.gguf", "owner/name:file.gguf"],
    );
    assert_error(scene.resolve("tiny/llama:absent.gguf"), &["no file absent.gguf", "tiny-llama.gguf"]);
    assert!(scene.server.stored_requests().is_empty());
    let model = scene.resolve("tiny/llama:tiny-llama.gguf").unwrap();
    assert_eq!(model.name, "tiny/llama:tiny-llama.gguf");
    assert_eq!(std::fs::read(&model.path).unwrap(), std::fs::read(fixture("tiny-llama.gguf")).unwrap());
    assert_eq!(scene.server.stored_requests().len(), 1);
}

#[test]
fn what_an_interrupted_download_left_is_resumed_with_a_range() {
    let scene = Scene::directory();
    let first = weights(1);
    scene.leave_incomplete(&first, &first[..1_234_567]);
    let model = scene.resolve(ID).unwrap();
    scene.assert_whole(&model, &scene.server.main());
    let ranges: Vec<_> = scene.server.stored_requests().iter().map(|seen| seen.headers.get("range").cloned()).collect();
    assert!(ranges.contains(&Some("bytes=1234567-".to_owned())) && ranges.len() == 2, "{ranges:?}");
}

#[test]
fn a_connection_that_breaks_again_and_again_is_resumed_where_it_broke() {
    let scene = Scene::directory();
    scene.server.fail(&sha256(&weights(1)), 2, Fault::Cut(700_000));
    scene.server.fail("/resolve/", 2, Fault::Cut(0));
    let model = scene.resolve(ID).unwrap();
    scene.assert_whole(&model, &scene.server.main());
    let seen = scene.server.stored_requests();
    assert!(seen.iter().filter(|seen| seen.headers.contains_key("range")).count() >= 2, "{seen:?}");
}

#[test]
fn a_silent_server_is_left_and_asked_again() {
    let mut scene = Scene::directory();
    scene.settings.silence_max = Duration::from_millis(400);
    scene.settings.attempts_max = 20;
    scene.server.fail(&sha256(&weights(2)), 1, Fault::Stall(2_000_000));
    let model = scene.resolve(ID).unwrap();
    scene.assert_whole(&model, &scene.server.main());
}

#[test]
fn a_server_that_ignores_the_range_is_read_from_the_beginning() {
    let scene = Scene::directory();
    let first = weights(1);
    scene.leave_incomplete(&first, &first[..1000]);
    scene.server.fail("/content/", 10, Fault::IgnoreRange);
    let model = scene.resolve(ID).unwrap();
    scene.assert_whole(&model, &scene.server.main());
    assert_eq!(scene.server.stored_requests().len(), 2);
}

#[test]
fn a_wrong_beginning_is_found_by_its_hash_and_fetched_again() {
    let scene = Scene::directory();
    for wrong in [vec![7; 1000], vec![7; 3_000_000], vec![7; 4_000_000]] {
        let scene = Scene::directory();
        scene.leave_incomplete(&weights(1), &wrong);
        let model = scene.resolve(ID).unwrap();
        scene.assert_whole(&model, &scene.server.main());
    }
    // A small file has no hash to prove a beginning: it is fetched whole.
    let path = scene.repo().join("blobs").join(format!("{}.incomplete", small_hash(b"{}")));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "x").unwrap();
    scene.assert_whole(&scene.resolve(ID).unwrap(), &scene.server.main());
}

#[test]
fn a_content_with_another_hash_is_refused_and_removed() {
    let scene = Scene::directory();
    let first = weights(1);
    scene.server.fail(&sha256(&first), 10, Fault::OtherBytes);
    assert_error(scene.resolve(ID), &[FIRST, "SHA-256 should be", &sha256(&first), "removed", "same command again"]);
    assert!(!scene.incomplete(&first).exists());
    assert!(!scene.repo().join("blobs").join(sha256(&first)).exists());
    let snapshot = scene.repo().join("snapshots").join(scene.server.main());
    assert_eq!(files_below(&snapshot), Vec::<PathBuf>::new(), "nothing is visible before all is there");
    assert!(!scene.repo().join("refs/main").exists());
}

#[test]
fn a_content_of_another_length_is_refused() {
    let scene = Scene::directory();
    let short = Fault::Status(200, Vec::new(), "too short".to_owned());
    scene.server.fail(&sha256(&weights(1)), 10, short);
    assert_error(scene.resolve(ID), &[FIRST]);
    let long = Scene::directory();
    long.server.fail("/config.json", 10, Fault::Status(200, Vec::new(), "{\"too\": \"long\"}".to_owned()));
    assert_error(long.resolve(ID), &["config.json", "more than 2 bytes"]);
}

#[test]
fn the_token_goes_to_the_hub_and_never_to_the_storage() {
    let mut scene = Scene::directory();
    scene.server.demand(TOKEN);
    let denied = scene.resolve(ID);
    assert_error(denied, &["refuses access to tiny/llama@main", "403 (GatedRepo)", "HF_TOKEN", "licence"]);
    scene.settings.token = Some(SecretString::from(TOKEN));
    scene.assert_whole(&scene.resolve(ID).unwrap(), &scene.server.main());
    let stored = scene.server.stored_requests();
    assert_eq!(stored.len(), 2);
    assert!(stored.iter().all(|seen| !seen.headers.contains_key("authorization")), "{stored:?}");
    let own = scene.server.seen().into_iter().filter(|seen| !seen.is_storage);
    assert!(own.skip(1).all(|seen| seen.headers["authorization"] == format!("Bearer {TOKEN}")));
    for path in files_below(scene.folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{}", path.display());
    }
}

#[test]
fn an_echoed_token_is_blotted_out_of_errors() {
    let mut scene = Scene::directory();
    scene.settings.token = Some(SecretString::from(TOKEN));
    let echo = format!("your token {TOKEN} is no good");
    scene.server.fail("/revision/", 10, Fault::Status(401, Vec::new(), echo));
    assert_error(scene.resolve(ID), &["401", "[redacted]"]);
}

#[test]
fn unknown_models_revisions_and_files_are_told_apart_from_failures() {
    let scene = Scene::directory();
    assert_error(
        scene.resolve("tiny/unknown"),
        &["tiny/unknown@main", "neither an existing path", "404 (RepoNotFound)"],
    );
    assert_error(scene.resolve("tiny/llama@v9"), &["tiny/llama@v9", "404 (RevisionNotFound)", "revision"]);
    let seen = scene.server.seen();
    assert_eq!(seen.len(), 2, "what is unknown is not asked for again: {seen:?}");
    assert!(!scene.repo().exists());
}

#[test]
fn busy_and_failing_answers_are_tried_again_within_bounds() {
    let scene = Scene::directory();
    let wait = vec!["Retry-After: 0.01".to_owned()];
    scene.server.fail("/revision/", 1, Fault::Status(429, wait.clone(), "slow down".to_owned()));
    scene.server.fail("/tree/", 1, Fault::Status(503, Vec::new(), "busy".to_owned()));
    scene.server.fail("/resolve/", 2, Fault::Status(429, wait, "slow down".to_owned()));
    scene.server.fail("/content/", 1, Fault::Status(500, Vec::new(), "oops".to_owned()));
    scene.assert_whole(&scene.resolve(ID).unwrap(), &scene.server.main());

    let scene = Scene::directory();
    scene.server.fail("/revision/", 100, Fault::Status(503, Vec::new(), "down for repairs".to_owned()));
    assert_error(scene.resolve(ID), &["cannot download tiny/llama@main", "503", "down for repairs"]);
    assert_eq!(scene.server.seen().len(), 3);
}

#[test]
fn offline_only_the_cache_counts_and_nothing_is_asked() {
    let mut scene = Scene::directory();
    scene.settings.network = Network::Offline;
    assert_error(scene.resolve(ID), &["HF_HUB_OFFLINE", "tiny/llama@main", "revision main is not known"]);
    scene.settings.network = Network::Online;
    let model = scene.resolve(ID).unwrap();
    scene.server.forget();
    scene.settings.network = Network::Offline;
    assert_eq!(scene.resolve(ID).unwrap(), model);
    assert_error(scene.resolve("tiny/llama:x.gguf"), &["no file x.gguf"]);
    std::fs::remove_file(model.path.join(SECOND)).unwrap();
    assert_error(scene.resolve(ID), &[SECOND]);
    assert!(scene.server.seen().is_empty());
}

#[test]
fn a_hub_that_cannot_be_asked_leaves_the_cached_commit() {
    let mut scene = Scene::directory();
    let model = scene.resolve(ID).unwrap();
    scene.server.forget();
    scene.server.fail("/revision/", 1, Fault::Status(500, Vec::new(), "oops".to_owned()));
    assert_eq!(scene.resolve(ID).unwrap(), model);
    assert_eq!(scene.server.seen().len(), 1, "with something to fall back on one attempt is enough");
    scene.settings.endpoint = "http://127.0.0.1:1".to_owned();
    assert_eq!(scene.resolve(ID).unwrap(), model);
    assert_error(scene.resolve("tiny/other"), &["cannot download tiny/other@main", "HF_ENDPOINT"]);
}

#[test]
fn a_branch_that_moved_brings_the_new_commit_and_only_what_changed() {
    let scene = Scene::directory();
    let old = scene.resolve(ID).unwrap();
    let (first, second, index) = (weights(1), weights(9), index());
    let commit = scene.server.push(&[
        ("config.json", b"{}"),
        (FIRST, &first),
        (SECOND, &second),
        (INDEX, index.as_bytes()),
        ("tokenizer.json", b"{\"model\": {}}"),
        ("tokenizer_config.json", b"{ }"),
        ("chat_template.jinja", b"{{ messages }}"),
    ]);
    scene.server.forget();
    let new = scene.resolve(ID).unwrap();
    assert_eq!(new.commit.as_deref(), Some(commit.as_str()));
    assert!(std::fs::read(new.path.join(SECOND)).unwrap() == second);
    assert!(new.path.join("chat_template.jinja").is_file() && !old.path.join("chat_template.jinja").exists());
    assert_eq!(scene.server.stored_requests().len(), 1, "what is there already is linked");
    assert!(std::fs::read(old.path.join(SECOND)).unwrap() == weights(2), "the old commit stays");
    let pinned = scene.resolve(&format!("{ID}@{}", old.commit.clone().unwrap())).unwrap();
    assert_eq!(pinned.path, old.path);
}

#[test]
fn two_at_once_download_each_content_once() {
    let scene = Scene::directory();
    let models: Vec<ResolvedModel> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| scene.resolve(ID).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for model in &models {
        scene.assert_whole(model, &scene.server.main());
    }
    assert_eq!(scene.server.stored_requests().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let scene = Scene::directory();
    std::fs::write(scene.folder.path().join("hub"), "a file in the way").unwrap();
    assert_error(scene.resolve(ID), &["model cache", "hub", "HF_HUB_CACHE"]);
}

#[test]
fn a_plan_says_what_is_missing_and_downloads_nothing() {
    let scene = Scene::directory();
    let first = weights(1);
    scene.leave_incomplete(&first, &first[..1_000_000]);
    let reference = ModelReference::parse(ID, &[]).unwrap();
    let Plan::Fetch(fetch) = block_on(hub::plan(&reference, &scene.settings)).unwrap() else { panic!("it is missing") };
    let small = 2 + index().len() + 13 + 3;
    assert_eq!((fetch.file_count(), fetch.bytes()), (6, (2 * 3_000_000 - 1_000_000 + small) as u64));
    assert!(scene.server.stored_requests().is_empty());
}

#[test]
fn a_model_larger_than_the_disk_is_refused_before_anything_is_written() {
    let scene = Scene::gguf();
    let bytes = 1_u64 << 60;
    let listing = serde_json::json!([{"type": "file", "path": "other.gguf", "size": bytes, "oid": "0".repeat(40),
        "lfs": {"oid": "0".repeat(64), "size": bytes}}]);
    scene.server.fail("/tree/", 1, Fault::Status(200, Vec::new(), listing.to_string()));
    assert_error(
        scene.resolve("tiny/llama:other.gguf"),
        &["not enough disk space", &bytes.to_string(), "HF_HUB_CACHE"],
    );
    assert!(!scene.repo().exists());
}

#[test]
fn hashes_that_are_paths_are_refused() {
    let scene = Scene::gguf();
    let listing = serde_json::json!([{"type": "file", "path": "other.gguf", "size": 4, "oid": "../../../evil"}]);
    scene.server.fail("/tree/", 1, Fault::Status(200, Vec::new(), listing.to_string()));
    assert_error(scene.resolve("tiny/llama:other.gguf"), &["hash of other.gguf is no hash"]);
    let info = serde_json::json!({"sha": "../../evil", "siblings": []});
    scene.server.fail("/revision/", 1, Fault::Status(200, Vec::new(), info.to_string()));
    assert_error(scene.resolve("tiny/llama:other.gguf"), &["a commit that is no hash"]);
    assert!(!scene.repo().exists());
}

/// A command that finds models at the scene's Hub.
fn at_hub(scene: &Scene, mut command: std::process::Command) -> std::process::Command {
    command.env("HF_HOME", scene.folder.path()).env("HF_ENDPOINT", scene.server.endpoint()).env("HF_TOKEN", TOKEN);
    command
}

fn doctor(scene: &Scene, workspace: &Workspace) -> Outcome {
    let mut command = program();
    command.arg("doctor").arg("-c").arg(workspace.path("thinkloom.toml"));
    Outcome::of(&mut at_hub(scene, command))
}

#[test]
fn a_run_downloads_its_model_and_goes_on_offline_with_the_same_bytes() {
    let scene = Scene::gguf();
    scene.server.demand(TOKEN);
    let workspace = Workspace::new(3, &[("policy.model", "\"tiny/llama:tiny-llama.gguf\"")]);
    let before = doctor(&scene, &workspace).assert_code(0).stdout;
    let size = std::fs::metadata(fixture("tiny-llama.gguf")).unwrap().len();
    for part in [&format!("1 files, {size} bytes"), &scene.server.endpoint(), "not on this machine"] {
        assert!(before.contains(part), "{part:?} is missing:\n{before}");
    }
    assert!(scene.server.stored_requests().is_empty());

    let run = |limit: &str| Outcome::of(&mut at_hub(&scene, workspace.command(&["--limit", limit])));
    let first = run("3").assert_code(0).assert_says(&["downloaded", "(100%)", &scene.server.main()]);
    assert!(!first.stderr.contains(TOKEN) && !first.stdout.contains(TOKEN));
    let samples = rows(&workspace.out(), "rollouts");
    assert_eq!(text(&samples[0], "policy_model"), "tiny/llama:tiny-llama.gguf");
    let after = doctor(&scene, &workspace).assert_code(0).stdout;
    assert!(after.contains(&scene.server.main()) && after.contains("SHA-256"), "{after}");

    let mut offline = at_hub(&scene, workspace.command(&["-o", "again"]));
    offline.env("HF_HUB_OFFLINE", "1").current_dir(workspace.path(""));
    scene.server.forget();
    Outcome::of(&mut offline).assert_code(0);
    assert!(scene.server.seen().is_empty());
    let name = "data/rollouts/train-00000.parquet";
    let bytes = |out: PathBuf| std::fs::read(out.join(name)).unwrap();
    assert!(bytes(workspace.out()) == bytes(workspace.path("again")));
}

#[cfg(unix)]
#[test]
fn an_interrupted_download_ends_with_3_and_is_resumed() {
    let scene = Scene::gguf();
    let workspace = Workspace::new(2, &[("policy.model", "\"tiny/llama:tiny-llama.gguf\"")]);
    let tiny = std::fs::read(fixture("tiny-llama.gguf")).unwrap();
    scene.server.fail("/content/", 1, Fault::Stall(300_000));
    let mut running = Running::start(&mut at_hub(&scene, workspace.command(&[])));
    let path = scene.incomplete(&tiny);
    until("a part of the model", || std::fs::metadata(&path).ok().filter(|metadata| metadata.len() == 300_000));
    running.interrupt();
    running.finish().assert_code(3).assert_says(&["run the same command again"]);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 300_000);
    Outcome::of(&mut at_hub(&scene, workspace.command(&[]))).assert_code(0);
    let last = scene.server.stored_requests().pop().unwrap();
    assert_eq!(last.headers["range"], "bytes=300000-");
}
