//! `save_images`: pictures written into a folder of the server's machine, where people look for them, beside the object
//! store, where programs do.

use bytes::Bytes;
use gesso_store::{ImageFormat, Lease};
use serde_json::{Map, Value};

use crate::app::App;
use crate::blocking::blocking;
use crate::http::wire::generate::Drawing;
use crate::http::wire::output_options::OutputOptions;
use crate::output_names::{Facts, expand};

/// What all pictures of a request have in common.
pub(crate) struct Saving<'a> {
    pub(crate) kind: Drawing,
    pub(crate) lease: &'a Lease,
    pub(crate) info: &'a Value,
    pub(crate) scheduler: &'a str,
    pub(crate) options: &'a OutputOptions,
    /// Of the body: whether it asks for saving at all.
    pub(crate) is_wanted: bool,
}

impl<'a> Saving<'a> {
    /// As the body says.
    pub(crate) fn new(
        kind: Drawing,
        lease: &'a Lease,
        body: &Map<String, Value>,
        info: &'a Value,
        scheduler: &'a str,
        options: &'a OutputOptions,
    ) -> Self {
        let is_wanted = body.get("save_images") == Some(&Value::Bool(true));
        Self { kind, lease, info, scheduler, options, is_wanted }
    }

    /// Saves picture `index`, from 0. What cannot be saved is told, and the picture is in the object store all the same.
    pub(crate) async fn save(
        &self,
        app: &App,
        index: usize,
        format: ImageFormat,
        file: Bytes,
    ) -> Option<String> {
        if !self.is_wanted {
            return None;
        }
        let started_ms = self.lease.task.started_ms.unwrap_or(self.lease.task.created_ms);
        let time = jiff::Timestamp::from_millisecond(started_ms as i64).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let owner = &self.lease.task.owner;
        let facts = Facts { info: self.info, index, scheduler: self.scheduler, user: owner, time: &time };
        let own = format!("{owner}/{}-images", self.kind.as_str());
        let folder = match expand(&self.options.folder, &facts) {
            below if self.options.in_folders && !below.is_empty() => format!("{own}/{below}"),
            _ => own,
        };
        // A name with a folder in it is one too many.
        let mut name = expand(&self.options.name, &facts).replace('/', "_");
        if name.is_empty() && !self.options.is_numbered {
            name = expand("[seed]", &facts);
        }
        let (outputs, is_numbered) = (app.outputs.clone(), self.options.is_numbered);
        // The blocking pool: a file.
        let saved =
            blocking(move || outputs.save(&folder, &name, format.extension(), is_numbered, &file)).await;
        match saved {
            Ok(Ok(path)) => {
                tracing::debug!(path, "picture saved");
                None
            }
            Ok(Err(error)) => Some(format!("a picture could not be saved in the folder of outputs: {error}")),
            Err(error) => Some(error.to_string()),
        }
    }
}
