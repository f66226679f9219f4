//! The same list of checks over a local folder and over a real S3 server (s3s-fs) on a loopback port, then what is
//! particular to each.

#![expect(clippy::unwrap_used, reason = "a test may end at its first surprise")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gesso_core::ids::TaskId;
use gesso_store::testing::ManualClock;
use gesso_store::{
    Clock, ImageFormat, ObjectKey, ObjectSettings, Objects, ObjectsError, SystemClock, UrlError,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

fn image(index: u32) -> ObjectKey {
    ObjectKey::image("default", &TaskId::parse("abc").unwrap(), 1, index, ImageFormat::Png).unwrap()
}

fn settings(folder: &Path, options: &[(&str, &str)], clock: Arc<dyn Clock>) -> ObjectSettings {
    ObjectSettings {
        options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        url_secrets: folder.join("keys/urls.json"),
        clock,
    }
}

fn local(folder: &Path, clock: Arc<dyn Clock>) -> Objects {
    let url = format!("file://{}", folder.join("objects").display());
    Objects::open(&url, settings(folder, &[], clock)).expect("the folder opens")
}

/// Serves `folder` as an S3 server with one bucket, `pictures`.
async fn s3_server(folder: &Path) -> String {
    fs::create_dir_all(folder.join("pictures")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder).unwrap());
    builder.set_auth(SimpleAuth::from_single("access", "secret"));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A client that goes away is no concern of the test.
                let _ = server.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    endpoint
}

fn s3(folder: &Path, endpoint: &str, secret: &str) -> Objects {
    s3_at("s3://pictures/gesso/one", folder, endpoint, secret)
}

fn s3_at(url: &str, folder: &Path, endpoint: &str, secret: &str) -> Objects {
    let options = [
        ("endpoint", endpoint),
        ("region", "us-east-1"),
        ("access_key_id", "access"),
        ("secret_access_key", secret),
        ("allow_http", "true"),
    ];
    Objects::open(url, settings(folder, &options, Arc::new(SystemClock))).expect("it opens")
}

async fn stores_reads_replaces_and_removes(objects: &Objects) {
    let key = image(1);
    assert_eq!(objects.get(&key).await, Err(ObjectsError::NotFound(key.clone())));
    assert_eq!(objects.head(&key).await, Err(ObjectsError::NotFound(key.clone())));
    objects.put(&key, b"first".as_slice().into()).await.unwrap();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    objects.put(&key, large.clone().into()).await.unwrap();
    assert_eq!(objects.get(&key).await.unwrap(), large);
    let info = objects.head(&key).await.unwrap();
    assert_eq!((info.size, info.content_type), (3_000_000, "image/png"));
    assert!(SystemClock.now_ms().abs_diff(info.modified_ms) < 60_000, "{info:?}");
    assert!(info.etag.is_some());
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("copy");
    let sha256 = objects.copy_to(&key, &info, &file).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), large);
    assert_eq!(sha256, "1913233a0a87fe912497ee543021c40adc5d414614fc76fdff3e0c08b6a1d981");
    objects.put(&key, large[1..].to_vec().into()).await.unwrap();
    assert_eq!(objects.copy_to(&key, &info, &file).await, Err(ObjectsError::Changed(key.clone())));
    let empty = ObjectKey::details(&TaskId::parse("abc").unwrap(), 2);
    objects.put(&empty, bytes::Bytes::new()).await.unwrap();
    assert_eq!(objects.get(&empty).await.unwrap(), b"".as_slice());
    objects.delete(&key).await.unwrap();
    objects.delete(&key).await.unwrap();
    assert_eq!(objects.get(&key).await, Err(ObjectsError::NotFound(key)));
}

#[tokio::test]
async fn a_local_folder_stores_reads_replaces_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    stores_reads_replaces_and_removes(&local(folder.path(), Arc::new(SystemClock))).await;
}

#[tokio::test]
async fn an_s3_server_stores_reads_replaces_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = s3_server(folder.path()).await;
    let objects = s3(folder.path(), &endpoint, "secret");
    stores_reads_replaces_and_removes(&objects).await;
    objects.put(&image(1), b"picture".as_slice().into()).await.unwrap();
    let file = folder.path().join("pictures/gesso/one/images/default/abc_1.png");
    assert_eq!(fs::read(file).unwrap(), b"picture");
}

/// Files that are sent whole and in parts, under the names of backups, which are found among others.
async fn sends_files_and_lists_backups(objects: &Objects) {
    assert_eq!(objects.backups().await, Ok(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    for (ms, bytes) in [(1_800_000_000_000, 10_000_u32), (1_800_003_600_000, 20_000_000)] {
        let content: Vec<u8> = (0..bytes).map(|number| number as u8).collect();
        fs::write(&file, &content).unwrap();
        let key = ObjectKey::backup(ms);
        objects.put_file(&key, &file).await.unwrap();
        assert!(objects.get(&key).await.unwrap() == content, "{bytes} bytes came out otherwise");
    }
    objects.put(&image(1), b"picture".as_slice().into()).await.unwrap();
    let mut listed = objects.backups().await.unwrap();
    listed.sort();
    assert_eq!(listed, [1_800_000_000_000, 1_800_003_600_000].map(ObjectKey::backup));
    let missing = objects.put_file(&ObjectKey::backup(1), &folder.path().join("nothing")).await;
    assert!(matches!(missing, Err(ObjectsError::Unavailable(_))), "{missing:?}");
}

#[tokio::test]
async fn a_local_folder_takes_files_and_lists_backups() {
    let folder = tempfile::tempdir().unwrap();
    sends_files_and_lists_backups(&local(folder.path(), Arc::new(SystemClock))).await;
}

#[tokio::test]
async fn an_s3_server_takes_files_and_lists_backups() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = s3_server(folder.path()).await;
    // The bucket itself, and names that the store changes.
    for url in ["s3://pictures/gesso/one", "s3://pictures/~a//b", "s3://pictures"] {
        let objects = s3_at(url, folder.path(), &endpoint, "secret");
        sends_files_and_lists_backups(&objects).await;
    }
}

#[tokio::test]
async fn a_presigned_url_works_without_credentials_until_it_expires_or_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = s3_server(folder.path()).await;
    let objects = s3(folder.path(), &endpoint, "secret");
    objects.put(&image(1), b"picture".as_slice().into()).await.unwrap();
    objects.put(&image(2), b"other".as_slice().into()).await.unwrap();

    let url = objects.signed_url(&image(1), Duration::from_secs(60)).await.unwrap();
    let reply = reqwest::get(&url).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "image/png");
    assert_eq!(reply.bytes().await.unwrap(), b"picture".as_slice());
    let changed = reqwest::get(url.replace("abc_1", "abc_2")).await.unwrap();
    assert!(changed.status().is_client_error(), "{}", changed.status());
    let bare = reqwest::get(url.split('?').next().unwrap()).await.unwrap();
    assert_eq!(bare.status(), 403);

    let short = objects.signed_url(&image(1), Duration::from_secs(1)).await.unwrap();
    assert_eq!(reqwest::get(&short).await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(reqwest::get(&short).await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_a_dead_server_is_unavailable_within_the_retry_time() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = s3_server(folder.path()).await;
    let denied =
        s3(folder.path(), &endpoint, "wrong").put(&image(1), b"x".as_slice().into()).await.unwrap_err();
    assert!(matches!(denied, ObjectsError::Denied(_)), "{denied:?}");

    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let began = std::time::Instant::now();
    let dead = s3(folder.path(), &endpoint, "secret").get(&image(1)).await.unwrap_err();
    assert!(matches!(dead, ObjectsError::Unavailable(_)), "{dead:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_three_oss_settings_give_virtual_hosted_urls() {
    let folder = tempfile::tempdir().unwrap();
    let options = [
        // As docs/operations.md has them.
        ("aws_endpoint", "https://pictures.oss-cn-hangzhou.aliyuncs.com"),
        ("aws_region", "oss-cn-hangzhou"),
        ("aws_access_key_id", "access"),
        ("aws_secret_access_key", "secret"),
        ("aws_virtual_hosted_style_request", "true"),
        ("aws_disable_bulk_delete", "true"),
        ("aws_conditional_put", "disabled"),
    ];
    let objects =
        Objects::open("s3://pictures", settings(folder.path(), &options, Arc::new(SystemClock))).unwrap();
    let url = objects.signed_url(&image(1), Duration::from_secs(604_800)).await.unwrap();
    let expected = "https://pictures.oss-cn-hangzhou.aliyuncs.com/images/default/abc_1.png?";
    assert!(url.starts_with(expected), "{url}");
}

#[tokio::test]
async fn a_local_url_is_signed_for_its_time_and_no_longer_than_seven_days() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(1_800_000_000_000);
    let objects = local(folder.path(), Arc::new(clock.clone()));
    let url = objects.signed_url(&image(1), Duration::from_secs(3600)).await.unwrap();
    let (path, query) = url.split_once('?').unwrap();
    assert_eq!(path, "/files/images/default/abc_1.png");
    let signer = objects.local_signer().expect("a local store signs itself");
    assert_eq!(signer.verify(path, query, clock.now_ms()), Ok(image(1)));
    clock.advance(Duration::from_secs(3600));
    assert_eq!(signer.verify(path, query, clock.now_ms()), Err(UrlError::Expired));
    for seconds in [0, 604_801] {
        let refused = objects.signed_url(&image(1), Duration::from_secs(seconds)).await;
        assert_eq!(refused, Err(ObjectsError::UrlLifetime(Duration::from_secs(seconds))));
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_are_swept_by_age_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(SystemClock.now_ms());
    let objects = local(folder.path(), Arc::new(clock.clone()));
    objects.put(&image(1), b"picture".as_slice().into()).await.unwrap();
    let leftover = folder.path().join("objects/images/default/abc_2.png#1");
    fs::write(&leftover, "half").unwrap();
    assert_eq!(objects.sweep_staged(Duration::from_secs(3600)).await, Ok(0));
    clock.advance(Duration::from_secs(7200));
    assert_eq!(objects.sweep_staged(Duration::from_secs(3600)).await, Ok(1));
    assert!(!leftover.exists());
    assert_eq!(objects.get(&image(1)).await.unwrap(), b"picture".as_slice());
}

#[test]
fn refuses_settings_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let open = |url: &str, options: &[(&str, &str)]| match Objects::open(
        url,
        settings(folder.path(), options, Arc::new(SystemClock)),
    ) {
        Ok(_) => panic!("{url} was accepted"),
        Err(error) => assert!(matches!(error, ObjectsError::Settings(_)), "{error:?}"),
    };
    open("ftp://host/path", &[]);
    open("s3:///prefix", &[]);
    open("s3://bucket", &[("no_such_option", "1")]);
    open(folder.path().to_str().unwrap(), &[("endpoint", "http://x")]);
    open("/proc/no-such-folder", &[]);
}
