//! A running server, asked over its REST API by the commands that need one.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};

use crate::environment;
use crate::http::access::is_this_machine;
use crate::settings::cli::{Connection, Serve};
use crate::telemetry::{self, one_line};

/// A server and what it is asked with.
pub(crate) struct Server {
    pub(crate) base: String,
    key: Option<String>,
    /// Where the key was found, unless it was given.
    key_file: Option<PathBuf>,
}

impl Server {
    /// As an admin: with the key that is given, or the one in the data folder. Nobody else's server is told the latter.
    pub(crate) fn as_admin(connection: &Connection) -> anyhow::Result<Self> {
        let (key, key_file) = match &connection.api_key {
            Some(key) => (key.clone(), None),
            None if connection.data.is_none() && !is_here(&connection.url) => bail!(
                "no key: the admin's in the data folder is for a server on this machine, and {} names another; \
                 pass --api-key, or --data with the folder of that server",
                connection.url
            ),
            None => stored_key(connection)?,
        };
        Ok(Self { key: Some(key), key_file, ..Self::as_said(connection) })
    }

    /// With the key that is given, or with none.
    pub(crate) fn as_said(connection: &Connection) -> Self {
        let base = connection.url.trim_end_matches('/').to_owned();
        Self { base, key: connection.api_key.clone(), key_file: None }
    }

    /// Sends JSON, or nothing, and reads JSON.
    ///
    /// # Errors
    /// A sentence: nobody answers, or what the server says, which is a [`Refusal`].
    pub(crate) fn json(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.call(method, path, "application/json", &[], body)
    }

    /// Sends bytes and reads JSON.
    ///
    /// # Errors
    /// As [`Server::json`].
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> anyhow::Result<Value> {
        let mut builder = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            builder = builder.header("authorization", format!("Bearer {}", key.trim()));
        }
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.header("content-type", content_type).body(body.unwrap_or_default())?;
        let mut response = agent(&self.base).run(request).with_context(|| {
            format!("no answer from {}; is the server running? (--url names another)", self.base)
        })?;
        let text = response.body_mut().read_to_string()?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if response.status().is_success() {
            return Ok(value);
        }
        let remedy = match (response.status().as_u16(), &self.key_file) {
            (401, Some(file)) => format!(
                "; the key in {} is not this server's: --data names its data folder, --api-key takes a key",
                file.display()
            ),
            (401, None) => "; `gesso key new` makes a key, and --api-key takes it".to_owned(),
            _ => String::new(),
        };
        let text = format!("{}{remedy} ({})", one_line(&refusal(&value)), response.status());
        Err(Refusal { status: response.status().as_u16(), text }.into())
    }

    /// The list that a route answers with.
    ///
    /// # Errors
    /// As [`Server::json`]; something else than a list.
    pub(crate) fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        match self.json("GET", path, None)? {
            Value::Array(list) => Ok(list),
            _ => bail!("{} did not answer with a list; is it a Gesso server?", self.base),
        }
    }

    /// A file by its signed URL.
    ///
    /// # Errors
    /// A sentence: nobody answers there, or the link has expired.
    pub(crate) fn file(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let request = ureq::http::Request::builder().uri(url).body(Vec::new())?;
        let mut response = agent(url).run(request).with_context(|| format!("no answer from {url}"))?;
        if !response.status().is_success() {
            bail!("the picture could not be fetched: {}", response.status());
        }
        Ok(response.body_mut().with_config().limit(FILE_BYTES_MAX).read_to_vec()?)
    }
}

/// What a server says that does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Refusal {
    /// Whether what it was asked about is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == 404
    }
}

/// A picture of any size that a server draws.
const FILE_BYTES_MAX: u64 = 256 << 20;

fn agent(url: &str) -> ureq::Agent {
    // Certificates that this machine trusts, and those of SSL_CERT_FILE.
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls.build());
    // A proxy that the environment names (`ALL_PROXY`) may be another machine, which would be told the admin's key, and would
    // look for the server on itself.
    let config = if is_here(url) { config.proxy(None) } else { config };
    config.build().into()
}

/// Whether a URL names this machine.
fn is_here(url: &str) -> bool {
    url.parse::<ureq::http::Uri>().is_ok_and(|url| url.host().is_some_and(is_this_machine))
}

/// The admin's, by the settings of this machine, and the file that it was found in.
fn stored_key(connection: &Connection) -> anyhow::Result<(String, Option<PathBuf>)> {
    let settings = environment::settings(&Serve { data: connection.data.clone(), ..Serve::default() })?;
    if let Some(key) = settings.admin_key {
        return Ok((key.trim().to_owned(), None));
    }
    let path: PathBuf = settings.data.join("admin-key");
    let key = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "no key: {} cannot be read; pass --api-key, or --data with the server's data folder",
            path.display()
        )
    })?;
    Ok((key.trim().to_owned(), Some(path)))
}

/// Shows what a server answered: as it is, for programs, or in lines for people, one for each part of a list. In a line may
/// be what somebody else wrote, such as why their task failed.
pub(crate) fn show(as_json: bool, answer: &Value, line: impl Fn(&Value) -> String) {
    match answer {
        _ if as_json => telemetry::announce(&format!("{answer:#}")),
        Value::Array(parts) => parts.iter().for_each(|part| telemetry::announce(&one_line(&line(part)))),
        one => telemetry::announce(&one_line(&line(one))),
    }
}

/// What a server says when it refuses: `message` of the tasks' dialect, `detail` of the web UI's, which is a list where
/// fields are wrong.
fn refusal(answer: &Value) -> String {
    match (&answer["message"], &answer["detail"]) {
        (Value::String(message), _) | (_, Value::String(message)) => message.clone(),
        (_, Value::Array(problems)) => {
            let texts: Vec<_> = problems.iter().filter_map(|problem| problem["msg"].as_str()).collect();
            texts.join("; ")
        }
        _ => answer.to_string(),
    }
}

/// A word that goes into a path has to look like one.
///
/// # Errors
/// A sentence that says what it may hold.
pub(crate) fn checked<'a>(what: &str, text: &'a str) -> anyhow::Result<&'a str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !text.is_empty() && text.bytes().all(is_plain) {
        return Ok(text);
    }
    bail!("{text:?} is not {what}: letters, digits, '-' and '_' only")
}

/// Milliseconds since the Unix epoch as a time in UTC; `-` for none.
pub(crate) fn when(millis: &Value) -> String {
    let at = millis.as_i64().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.strftime("%F %T").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_admin_key_of_this_machine_goes_to_no_other() {
        for here in
            ["http://127.0.0.1:7860", "https://localhost", "http://[::1]:7860/x", "http://gesso.localhost"]
        {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in
            ["https://pictures.example", "http://127.0.0.1.pictures.example", "http://10.0.0.1:7860", ""]
        {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_refusal_of_either_dialect_is_a_sentence() {
        for (answer, sentence) in [
            (
                json!({"message": "no such task", "detail": "no such task", "code": "not_found"}),
                "no such task",
            ),
            (json!({"error": "HTTPException", "detail": "no model x", "body": ""}), "no model x"),
            (
                json!({"detail": [{"msg": "width: too wide"}, {"msg": "steps: none"}]}),
                "width: too wide; steps: none",
            ),
            (json!("<html>"), "\"<html>\""),
        ] {
            assert_eq!(refusal(&answer), sentence);
        }
    }
}
