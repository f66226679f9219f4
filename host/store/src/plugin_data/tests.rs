//! What plugins keep, in a real folder with real objects beside it.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::objects::ObjectSettings;

const PLENTY: u64 = 1 << 20;

fn open(home: &Path) -> PluginData {
    let settings = ObjectSettings {
        options: std::collections::BTreeMap::new(),
        url_secrets: home.join("url-keys"),
        clock: Arc::new(SystemClock),
    };
    let objects = Objects::open(&home.join("objects").display().to_string(), settings).unwrap();
    PluginData::open(&home.join("plugin-data"), objects).unwrap()
}

fn objects_of(home: &Path, plugin: &str) -> usize {
    std::fs::read_dir(home.join("objects/plugins").join(plugin)).map_or(0, Iterator::count)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

#[tokio::test]
async fn values_are_apart_by_plugin_and_there_after_a_start() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    data.set("a", "key", bytes("one"), PLENTY).await.unwrap();
    data.set("a-b", "key", bytes("other"), PLENTY).await.unwrap();
    data.set("a", "key", bytes("two"), PLENTY).await.unwrap();
    assert_eq!(data.get("a", "key").await.unwrap(), bytes("two"));
    let used = data.used("a");
    assert_eq!(used, PluginUse { keys: 1, kv_bytes: 6, ..PluginUse::default() });
    drop(data);
    let data = open(home.path());
    assert_eq!(data.used("a"), used, "what was counted is not what is there");
    assert_eq!(data.get("a-b", "key").await.unwrap(), bytes("other"));
    data.set("a", "key", None, 0).await.unwrap();
    assert_eq!((data.get("a", "key").await.unwrap(), data.used("a")), (None, PluginUse::default()));
}

#[tokio::test]
async fn what_grows_beyond_the_grant_is_refused_and_what_shrinks_is_not() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    data.set("a", "k", bytes("123456789"), 10).await.unwrap();
    let refused = data.set("a", "l", bytes(""), 10).await.unwrap_err();
    assert!(refused.to_string().contains("11 bytes of the 10 that are granted"), "{refused}");
    assert!(data.set("a", "k", bytes("1234567890"), 10).await.is_err());
    assert_eq!(data.get("a", "k").await.unwrap(), bytes("123456789"));
    data.set("a", "k", bytes("1234"), 3).await.unwrap();
    assert_eq!(data.used("a").kv_bytes, 5);
}

#[tokio::test]
async fn a_swap_is_made_only_over_what_is_expected() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    assert!(!data.swap("a", "k", (bytes("x"), bytes("y")), PLENTY).await.unwrap());
    assert!(data.swap("a", "k", (None, bytes("1")), PLENTY).await.unwrap());
    assert!(!data.swap("a", "k", (None, bytes("2")), PLENTY).await.unwrap());
    assert!(data.swap("a", "k", (bytes("1"), None), PLENTY).await.unwrap());
    assert_eq!(data.get("a", "k").await.unwrap(), None);
}

#[tokio::test]
async fn swaps_side_by_side_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    let counting = (0..4).map(|_| {
        let data = data.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let old = data.get("a", "count").await.unwrap();
                    let count = old.as_ref().map_or(0, Vec::len);
                    if data.swap("a", "count", (old, Some(vec![b'x'; count + 1])), PLENTY).await.unwrap() {
                        break;
                    }
                }
            }
        })
    });
    for counter in counting.collect::<Vec<_>>() {
        counter.await.unwrap();
    }
    assert_eq!(data.get("a", "count").await.unwrap().unwrap().len(), 40);
}

#[tokio::test]
async fn names_are_listed_in_pages_within_a_plugin() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        data.set("p", key, bytes(""), PLENTY).await.unwrap();
    }
    data.set("q", "a/4", bytes(""), PLENTY).await.unwrap();
    let page = |prefix: &'static str, after| {
        let data = data.clone();
        async move { data.keys("p", prefix, after, 2).await.unwrap() }
    };
    assert_eq!(page("a/", None).await, ["a/1", "a/2"]);
    assert_eq!(page("a/", Some("a/2")).await, ["a/3"]);
    assert_eq!(page("a/", Some("a/3")).await, [""; 0]);
    assert_eq!(page("b", Some("a/2")).await, ["b/1"]);
    assert_eq!(page("", Some("b/1")).await, [""; 0], "another plugin's key was listed");
}

#[tokio::test]
async fn a_blob_is_read_in_parts_and_replaced_whole() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    data.put_blob("a", "../x", Bytes::from_static(b"0123456789"), PLENTY).await.unwrap();
    let read = async |offset, length| data.read_blob("a", "../x", offset, length).await.unwrap().unwrap();
    assert_eq!(
        (read(2, 3).await, read(8, 99).await, read(10, 1).await),
        ("234".into(), "89".into(), "".into())
    );
    data.put_blob("a", "../x", Bytes::from_static(b"new"), PLENTY).await.unwrap();
    assert_eq!((data.blob_size("a", "../x").await.unwrap(), objects_of(home.path(), "a")), (Some(3), 1));
    assert_eq!(data.read_blob("b", "../x", 0, 1).await.unwrap(), None);
    let refused = data.put_blob("a", "y", Bytes::from(vec![0; 100]), 50).await.unwrap_err();
    assert!(matches!(refused, PluginDataError::Full(_)), "{refused:?}");
    assert_eq!(
        (data.blobs("a", "", None, 9).await.unwrap(), objects_of(home.path(), "a")),
        (vec!["../x".into()], 1)
    );
    data.remove_blob("a", "../x").await.unwrap();
    data.remove_blob("a", "../x").await.unwrap();
    assert_eq!((data.used("a"), objects_of(home.path(), "a")), (PluginUse::default(), 0));
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_nothing_of_others() {
    let home = tempfile::tempdir().unwrap();
    let data = open(home.path());
    for plugin in ["a", "ab"] {
        data.set(plugin, "k", bytes("v"), PLENTY).await.unwrap();
        data.put_blob(plugin, "n", Bytes::from_static(b"b"), PLENTY).await.unwrap();
    }
    data.forget("a").await.unwrap();
    assert_eq!((data.used("a"), objects_of(home.path(), "a")), (PluginUse::default(), 0));
    assert_eq!(data.get("a", "k").await.unwrap(), None);
    assert_eq!((data.get("ab", "k").await.unwrap(), objects_of(home.path(), "ab")), (bytes("v"), 1));
}

#[tokio::test]
async fn a_folder_that_was_emptied_is_told_and_not_begun_anew() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()));
    std::fs::remove_dir_all(home.path().join("plugin-data/sled")).unwrap();
    let again = Records::open(&home.path().join("plugin-data"));
    assert!(matches!(again.err(), Some(PluginDataError::Damaged(_))));
}
