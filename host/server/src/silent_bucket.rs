//! For tests of what is done while an object store keeps one waiting.

use std::path::Path;
use std::sync::Arc;

use gesso_store::{ObjectSettings, Objects, SystemClock};
use tokio::net::TcpListener;

/// A bucket with its server, which takes connections and answers nothing. `folder` is for what [`Objects`] keeps.
pub(crate) async fn silent_bucket(folder: &Path) -> (TcpListener, Objects) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let options = [
        ("endpoint", endpoint.as_str()),
        ("region", "us-east-1"),
        ("access_key_id", "access"),
        ("secret_access_key", "secret"),
        ("allow_http", "true"),
    ];
    let settings = ObjectSettings {
        options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        url_secrets: folder.join("url-keys"),
        clock: Arc::new(SystemClock),
    };
    (server, Objects::open("s3://pictures", settings).unwrap())
}
