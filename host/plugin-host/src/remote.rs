//! Plugins that lie elsewhere: in an OCI registry, or at an address of the Web. Brings one, bounded and by its digest, and tells
//! where it came from; puts one into a registry for its author. Called by the server's routes and commands. Judges no component:
//! the bytes that it brings, which nobody is asked for a second time, go the way of an upload.

mod artifact;
mod digest;
mod reference;
mod session;
mod way;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use url::Url;

use self::digest::Digest;
use self::reference::Reference;
use self::session::{Purpose, Session};
use self::way::{Ask, MESSAGE_BYTES, Way};
use crate::manifest::Manifest;
use crate::outgoing::Outward;

/// As much as registries take of a manifest.
const MANIFEST_BYTES: usize = 4 << 20;
const WEB: &str = "https://";
const TLS_PORT: u16 = 443;

/// How a registry that an admin lists is asked. It may be on an address of this machine or of a private network.
#[derive(Clone, Default)]
pub struct RegistryAccess {
    pub username: Option<String>,
    pub password: Option<String>,
    /// It speaks HTTP and no TLS.
    pub plain_http: bool,
}

/// Where plugins are brought from. All registries that are public and speak TLS need no entry.
pub struct Remotes {
    /// By host and port.
    listed: BTreeMap<String, RegistryAccess>,
    outward: Outward,
    /// How those are asked that are not listed.
    others: RegistryAccess,
}

/// Where a build was brought from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was asked for: `oci://registry.example/plugins/frame:1.2`. Of an address of the Web without user, query and fragment,
    /// which may be secrets: this is stored, and shown to every admin.
    pub from: String,
    /// `sha256:` and hex digits: of an artifact in a registry its manifest's, else the file's.
    pub digest: String,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.from, self.digest)
    }
}

/// A component, as it came.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub bytes: Bytes,
    pub source: Source,
}

/// Why a plugin was not brought, or not put there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// What was asked for, or what lies there, is wrong, in a sentence.
    #[error("{0}")]
    Refused(String),
    /// Nobody answers there, or not now.
    #[error("{0}")]
    Unreachable(String),
}

/// Whether a text names a plugin that lies elsewhere, and no file.
pub fn is_elsewhere(text: &str) -> bool {
    [reference::SCHEME, WEB].iter().any(|scheme| text.starts_with(scheme))
}

impl Remotes {
    /// # Errors
    /// A sentence about the first registry that is none.
    pub fn new(listed: impl IntoIterator<Item = (String, RegistryAccess)>) -> Result<Self, String> {
        let listed = listed
            .into_iter()
            .map(|(name, access)| Ok((reference::registry_name(&name)?, access)))
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let hosts: Vec<_> = listed.iter().map(|(name, access)| origin_text(name, access)).collect();
        let outward = Outward::new(&hosts, true)?;
        Ok(Self { listed, outward, others: RegistryAccess::default() })
    }

    /// Brings the component that `from` names: `oci://registry/repository[:tag][@sha256:…]`, or `https://…`, of which the
    /// digest must be given. What lies there has to have the digest that is given.
    ///
    /// # Errors
    /// `Refused` for what is no name, is not allowed to be asked, is longer than `bytes_max`, or is something else than was
    /// meant; `Unreachable` where there is no answer.
    pub async fn fetch(
        &self,
        from: &str,
        digest: Option<&str>,
        bytes_max: usize,
    ) -> Result<Fetched, RemoteError> {
        let wanted = digest.map(Digest::parse).transpose().map_err(RemoteError::Refused)?;
        if from.starts_with(reference::SCHEME) {
            return self.in_registry(from, wanted, bytes_max).await;
        }
        if from.starts_with(WEB) {
            let missing =
                "a file of the Web is taken by its digest alone: give `digest`, sha256:… of the file";
            let wanted = wanted.ok_or_else(|| RemoteError::Refused(missing.into()))?;
            return self.on_the_web(from, &wanted, bytes_max).await;
        }
        Err(RemoteError::Refused(format!("{from:?} begins with neither {} nor {WEB}", reference::SCHEME)))
    }

    async fn in_registry(
        &self,
        from: &str,
        wanted: Option<Digest>,
        bytes_max: usize,
    ) -> Result<Fetched, RemoteError> {
        let mut reference = Reference::parse(from).map_err(RemoteError::Refused)?;
        if let (Some(wanted), Some(named)) = (&wanted, &reference.digest)
            && wanted != named
        {
            return Err(RemoteError::Refused(format!(
                "{from} names another digest than {wanted}, which is wanted"
            )));
        }
        let wanted = wanted.or_else(|| reference.digest.clone());
        if reference.tag.is_none() {
            reference.digest.clone_from(&wanted);
        }
        let mut session = self.session(&reference, Purpose::Pull)?;
        // The manifest that the tag stands for now is the one that is checked and used: no tag is asked for twice.
        let manifest = session.manifest(&reference.version(), artifact::ACCEPTED, MANIFEST_BYTES).await?;
        let found = Digest::of(&manifest);
        expect(from, wanted.as_ref().unwrap_or(&found), &found)?;
        let refused = |reason: String| RemoteError::Refused(format!("{from} cannot be taken: {reason}"));
        let layer = artifact::layer_of(&manifest).map_err(refused)?;
        if layer.bytes > bytes_max {
            return Err(refused(format!(
                "its layer has {} bytes; at most {bytes_max} are taken",
                layer.bytes
            )));
        }
        let bytes = session.blob(&layer.digest, layer.bytes).await?;
        expect(&format!("the layer of {from}"), &layer.digest, &Digest::of(&bytes))?;
        // A blob is read further than this: a refusal in its place is longer than a small layer.
        if bytes.len() != layer.bytes {
            return Err(refused(format!(
                "its layer has {} bytes; its manifest says {}",
                bytes.len(),
                layer.bytes
            )));
        }
        Ok(Fetched { bytes, source: Source { from: from.to_owned(), digest: found.to_string() } })
    }

    async fn on_the_web(
        &self,
        from: &str,
        wanted: &Digest,
        bytes_max: usize,
    ) -> Result<Fetched, RemoteError> {
        let url = Url::parse(from).map_err(|error| {
            RemoteError::Refused(format!("what begins with {WEB} is no address: {error}"))
        })?;
        let from = without_secrets(&url);
        let way = self.way(&url)?;
        let ask = Ask { bytes_max: bytes_max.max(MESSAGE_BYTES), ..Ask::get(url).accepting("*/*") };
        let bytes = way.follow(ask).await?.body_if(StatusCode::OK)?;
        expect(&from, wanted, &Digest::of(&bytes))?;
        Ok(Fetched { bytes, source: Source { from, digest: wanted.to_string() } })
    }

    /// Puts a component into a registry, under the tag that `to` names, and returns the digest of its manifest. `about` is what
    /// the component says of itself.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn push(&self, to: &str, component: Bytes, about: &Manifest) -> Result<String, RemoteError> {
        let reference = Reference::parse(to).map_err(RemoteError::Refused)?;
        if reference.digest.is_some() {
            return Err(RemoteError::Refused(format!(
                "{to}: name a tag; the digest comes of what is pushed"
            )));
        }
        let artifact::Made { config, manifest } = artifact::make(&component, about);
        let digest = Digest::of(&manifest).to_string();
        let mut session = self.session(&reference, Purpose::Push)?;
        session.push_blob(config.into()).await?;
        session.push_blob(component).await?;
        session.push_manifest(reference.tag(), artifact::MANIFEST_TYPE, manifest.into()).await?;
        Ok(digest)
    }

    fn session(&self, reference: &Reference, purpose: Purpose) -> Result<Session<'_>, RemoteError> {
        let access = self.listed.get(&reference.registry).unwrap_or(&self.others);
        let base = format!("{}/v2/{}/", origin_text(&reference.registry, access), reference.repository);
        let base = Url::parse(&base).map_err(|error| RemoteError::Refused(format!("{base}: {error}")))?;
        Ok(Session::new(self.way(&base)?, base, reference, purpose, access))
    }

    fn way(&self, to: &Url) -> Result<Way, RemoteError> {
        let port = to.port_or_known_default().unwrap_or(TLS_PORT);
        Way::new(self.outward.clone(), port).map_err(RemoteError::Refused)
    }
}

/// Scheme, host, port and path.
fn without_secrets(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

fn origin_text(registry: &str, access: &RegistryAccess) -> String {
    let scheme = if access.plain_http { "http" } else { "https" };
    format!("{scheme}://{registry}")
}

fn expect(what: &str, wanted: &Digest, found: &Digest) -> Result<(), RemoteError> {
    if wanted == found {
        return Ok(());
    }
    Err(RemoteError::Refused(format!(
        "{what} has the digest {found} and not {wanted}: it was changed, or is not what was meant"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    async fn refusal(remotes: &Remotes, from: &str, digest: Option<&str>) -> String {
        match remotes.fetch(from, digest, BYTES_MAX).await {
            Err(RemoteError::Refused(reason)) => reason,
            other => panic!("{from}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_private_is_asked_where_it_is_listed_alone() {
        let none = Remotes::new([]).unwrap();
        for from in [
            "oci://127.0.0.1:1/frame",
            "oci://2130706433:1/frame",
            "oci://localhost:1/frame",
            "oci://169.254.169.254/frame",
            "oci://[::1]:1/frame",
        ] {
            assert!(refusal(&none, from, None).await.contains("setting registries"), "{from}");
        }
        let digest = Digest::of(b"").to_string();
        assert!(
            refusal(&none, "https://127.0.0.1:1/a.wasm", Some(&digest)).await.contains("may not be asked")
        );
        let listed = Remotes::new([("LocalHost:1".to_owned(), RegistryAccess::default())]).unwrap();
        let error = listed.fetch("oci://localhost:1/frame", None, BYTES_MAX).await.unwrap_err();
        assert!(matches!(error, RemoteError::Unreachable(_)), "{error}");
    }

    #[test]
    fn what_signs_an_address_is_not_kept() {
        for (asked, kept) in [
            (
                "https://bucket.example/a/frame.wasm?X-Amz-Credential=key&X-Amz-Signature=0f#part",
                "https://bucket.example/a/frame.wasm",
            ),
            ("https://user:secret@files.example:8443/frame.wasm", "https://files.example:8443/frame.wasm"),
            ("https://files.example/a%20b.wasm", "https://files.example/a%20b.wasm"),
        ] {
            assert_eq!(without_secrets(&Url::parse(asked).unwrap()), kept);
        }
    }

    #[tokio::test]
    async fn what_signs_an_address_is_in_no_refusal() {
        let digest = Digest::of(b"a").to_string();
        for from in ["https://[a?signature=secret", "https://user:secret@127.0.0.1:1/a.wasm?signature=secret"]
        {
            let refusal = refusal(&Remotes::new([]).unwrap(), from, Some(&digest)).await;
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn names_and_digests_are_judged_before_anybody_is_asked() {
        let remotes = Remotes::new([]).unwrap();
        let (digest, other) = (Digest::of(b"a").to_string(), Digest::of(b"b").to_string());
        let named = format!("oci://registry.invalid/frame@{digest}");
        assert!(refusal(&remotes, &named, Some(&other)).await.contains("another digest"));
        assert!(refusal(&remotes, &named, Some("sha256:1")).await.contains("64 hex digits"));
        assert!(refusal(&remotes, "https://registry.invalid/a.wasm", None).await.contains("digest"));
        assert!(refusal(&remotes, "ftp://registry.invalid/a.wasm", None).await.contains("neither"));
        assert!(Remotes::new([("https://a.example".to_owned(), RegistryAccess::default())]).is_err());
        assert!(is_elsewhere("oci://a/b") && is_elsewhere("https://a/b.wasm") && !is_elsewhere("frame.wasm"));
    }
}
