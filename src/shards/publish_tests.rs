//! Publishes into real directories.

use futures::FutureExt;

use super::*;
use crate::domain::digest::sha256;

/// More than a reader of files takes at a time.
const MANY_BYTES: usize = 200_000;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = list(dir).unwrap().into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn published_files_verify_and_are_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::new(dir.path()).unwrap();
    let name = Table::Samples.file_name(0);
    let first = Bytes::from_static(b"first");
    let hash = sha256(&first);
    assert_eq!(verify(dir.path(), &name, &hash).unwrap(), FileState::Missing);
    publisher.put(&name, first).await.unwrap();
    assert_eq!(verify(dir.path(), &name, &hash).unwrap(), FileState::Intact);

    publisher.put(&name, Bytes::from(vec![b'x'; MANY_BYTES])).await.unwrap();
    let found = sha256(vec![b'x'; MANY_BYTES]);
    assert_eq!(verify(dir.path(), &name, &hash).unwrap(), FileState::Different { found });
    assert_eq!(names(&dir.path().join("data/samples")), ["train-00000.parquet"]);

    publisher.put("manifest.json", Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(names(dir.path()), ["data", "manifest.json"]);
}

#[test]
fn publishing_works_outside_of_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::new(dir.path()).unwrap();
    let put = publisher.put("views.sql", Bytes::from_static(b"SELECT 1;"));
    put.now_or_never().expect("no runtime, no waiting").unwrap();
    assert_eq!(names(dir.path()), ["data", "views.sql"]);
}

#[tokio::test]
async fn names_that_leave_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::new(dir.path()).unwrap();
    for name in ["../x", "/x", "data/../../x", "", "data//x", "x/", ".", "x#1"] {
        let result = publisher.put(name, Bytes::new()).await;
        assert!(matches!(result, Err(ShardError::InvalidName { .. })), "{name:?}: {result:?}");
    }
    assert_eq!(names(dir.path()), ["data"]);
}

#[tokio::test]
async fn refused_publishing_names_the_path_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::new(dir.path()).unwrap();
    let name = Table::Samples.file_name(0);
    let obstacle = dir.path().join(&name);
    std::fs::create_dir(&obstacle).unwrap();
    let error = publisher.put(&name, Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.to_string().contains(obstacle.to_str().unwrap()), "{error}");
    assert!(error.hint().unwrap().contains("the name is in use"));
    assert_eq!(names(&dir.path().join("data/samples")), ["train-00000.parquet"]);
    assert!(obstacle.is_dir());
}

#[test]
fn unusable_output_directories_are_named_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let error = Publisher::new(&missing).unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    assert_eq!(error.hint(), Some("check that the directory exists"));

    std::fs::write(dir.path().join("data"), "not a directory").unwrap();
    let error = Publisher::new(dir.path()).unwrap_err();
    assert!(error.hint().unwrap().contains("the name is in use"), "{error}");
}

#[test]
fn unreadable_files_are_neither_missing_nor_different() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("x.parquet")).unwrap();
    let error = verify(dir.path(), "x.parquet", "00").unwrap_err();
    assert!(matches!(error, ShardError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn unexplained_files_are_listed_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(unexplained(dir.path(), &[]).unwrap(), Vec::<String>::new());
    let publisher = Publisher::new(dir.path()).unwrap();
    let known = Table::Samples.file_name(0);
    publisher.put(&known, Bytes::from_static(b"x")).await.unwrap();
    for name in ["data/samples/train-00001.parquet#1", "data/a", "data/deep/er/b", "manifest.json#12", "notes#1st", "n"]
    {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let expected = ["data/a", "data/deep/er/b", "data/samples/train-00001.parquet#1", "manifest.json#12"];
    assert_eq!(unexplained(dir.path(), std::slice::from_ref(&known)).unwrap(), expected);
    assert_eq!(unexplained(dir.path(), &[]).unwrap().len(), expected.len() + 1);

    // A staged file of a dead process does not block the next one.
    let next = Table::Samples.file_name(1);
    publisher.put(&next, Bytes::from_static(b"y")).await.unwrap();
    assert_eq!(unexplained(dir.path(), &[known, next]).unwrap(), expected);
}

#[test]
fn staged_leftovers_are_removed_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    Publisher::new(dir).unwrap();
    let staged = ["data/samples/train-00000.parquet#1", "manifest.json#12"];
    let kept =
        ["data/samples/train-00000.parquet", "data/samples/notes.txt#1", "mine.json#1", "data/rollouts/x.parquet#y"];
    for name in staged.iter().chain(&kept) {
        std::fs::write(dir.join(name), "x").unwrap();
    }
    let mut removed = remove_staged(dir).unwrap();
    removed.sort_unstable();
    assert_eq!(removed, staged);
    assert!(kept.iter().all(|name| dir.join(name).is_file()));
    assert_eq!(remove_staged(dir).unwrap(), Vec::<String>::new());
}
