//! `gesso plugin keygen`, `sign` and `verify`: who vouches for a component.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use gesso_plugin_host::{AuthorKey, TrustedKey, signer};

use crate::telemetry;

pub(super) fn new_key(out: &Path) -> anyhow::Result<()> {
    let key = AuthorKey::generate()?;
    // Never over a key that is there: what it signed could not be signed again.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let mut file = made.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!(
                "{} is there already, and no key is written over another: name another file",
                out.display()
            )
        }
        _ => anyhow::Error::from(error).context(format!("{} cannot be made", out.display())),
    })?;
    writeln!(file, "{}", key.to_hex())?;
    telemetry::announce(&format!(
        "{} holds the private key: whoever has it signs as you.\nThe public key, for the setting plugin_keys of servers \
         that trust you:\n{}",
        out.display(),
        key.public_hex()
    ));
    Ok(())
}

pub(super) fn sign(file: &Path, key: &Path) -> anyhow::Result<()> {
    super::check::judge(file)?;
    let text = std::fs::read_to_string(key)
        .with_context(|| format!("{} cannot be read; `gesso plugin keygen` makes a key", key.display()))?;
    let author = AuthorKey::parse(&text).map_err(|reason| anyhow!("{}: {reason}", key.display()))?;
    let signed = author.sign(&std::fs::read(file)?);
    super::project::replace(file, &signed)?;
    telemetry::announce(&format!("{} is signed with {}", file.display(), author.public_hex()));
    Ok(())
}

pub(super) fn verify(file: &Path, keys: &[String]) -> anyhow::Result<()> {
    if let Some(reason) = keys.iter().find_map(|key| TrustedKey::parse(key).err()) {
        bail!("--key: {reason}");
    }
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    match signer(&bytes).map_err(|reason| anyhow!("{}: {reason}", file.display()))? {
        None => bail!("{} is not signed; `gesso plugin sign` signs it", file.display()),
        Some(key) if keys.is_empty() || keys.iter().any(|known| known.trim().eq_ignore_ascii_case(&key)) => {
            telemetry::announce(&format!("{} is signed with {key}", file.display()));
            Ok(())
        }
        Some(key) => bail!(
            "{} is signed with {key}, which is none of the keys given; where its author says that this key is theirs, give it \
             as --key",
            file.display()
        ),
    }
}
