//! `save_images`: pictures written into a folder of the server's machine, where people look for them, beside the object
//! store, where programs do.

use bytes::Bytes;
use gesso_plugin_host::{CallContext, SavedPicture};
use gesso_store::{ImageFormat, Lease, Series};
use serde_json::{Map, Value};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::generate::Drawing;
use crate::http::wire::grid_options::GridOptions;
use crate::http::wire::output_options::OutputOptions;
use crate::output_names::{Facts, expand};
use crate::plugin_view;

/// What all pictures of a request have in common.
pub(crate) struct Saving<'a> {
    pub(crate) kind: Drawing,
    /// For which plugins hear of it.
    pub(crate) call: &'a CallContext,
    pub(crate) lease: &'a Lease,
    pub(crate) body: &'a Map<String, Value>,
    pub(crate) info: &'a Value,
    pub(crate) scheduler: &'a str,
    pub(crate) options: &'a OutputOptions,
    /// Of the body: whether it asks for saving at all.
    pub(crate) is_wanted: bool,
}

impl<'a> Saving<'a> {
    /// As the body says.
    pub(crate) fn new(
        (kind, call): (Drawing, &'a CallContext),
        lease: &'a Lease,
        body: &'a Map<String, Value>,
        info: &'a Value,
        scheduler: &'a str,
        options: &'a OutputOptions,
    ) -> Self {
        let is_wanted = body.get("save_images") == Some(&Value::Bool(true));
        Self { kind, call, lease, body, info, scheduler, options, is_wanted }
    }

    /// Saves picture `index`, from 0, and tells plugins. What cannot be saved or told is in the answer, and the picture is in the
    /// object store all the same.
    ///
    /// # Errors
    /// Of a plugin that may not be skipped.
    pub(crate) async fn save(
        &self,
        app: &App,
        index: usize,
        format: ImageFormat,
        (file, infotext): (Bytes, String),
    ) -> Result<Option<String>, AppError> {
        if !self.is_wanted || !self.options.saves_pictures {
            return Ok(None);
        }
        let is_numbered = self.options.is_numbered;
        let mut name = self.name(index);
        if name.is_empty() && !is_numbered {
            name = self.filled("[seed]", index);
        }
        let folder = self.folder("images", self.options.in_folders, index);
        let about = SavedPicture { infotext, ..about(format, &file) };
        self.write(app, (folder, name), is_numbered.then_some(Series::PICTURES), file, about).await
    }

    /// Saves the grid of all pictures, in a folder of grids: under a number, unless its options ask for a name that may do
    /// without.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn save_grid(
        &self,
        app: &App,
        options: &GridOptions,
        format: ImageFormat,
        (file, infotext): (Bytes, String),
    ) -> Result<Option<String>, AppError> {
        if !self.is_wanted {
            return Ok(None);
        }
        let name = if options.is_named { self.name(0) } else { String::new() };
        let is_numbered = self.options.is_numbered || name.is_empty();
        let folder = self.folder("grids", options.in_folders, 0);
        let about = SavedPicture { infotext, is_grid: true, ..about(format, &file) };
        self.write(app, (folder, name), is_numbered.then_some(Series::GRIDS), file, about).await
    }

    /// The name that the options give picture `index`. One with a folder in it is one too many.
    fn name(&self, index: usize) -> String {
        self.filled(&self.options.name, index).replace('/', "_")
    }

    fn folder(&self, of: &str, in_folders: bool, index: usize) -> String {
        let own = format!("{}/{}-{of}", self.lease.task.owner, self.kind.as_str());
        match self.filled(&self.options.folder, index) {
            below if in_folders && !below.is_empty() => format!("{own}/{below}"),
            _ => own,
        }
    }

    fn filled(&self, pattern: &str, index: usize) -> String {
        let task = &self.lease.task;
        let started_ms = task.started_ms.unwrap_or(task.created_ms);
        let time = jiff::Timestamp::from_millisecond(started_ms as i64).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let (info, scheduler) = (self.info, self.scheduler);
        expand(pattern, &Facts { info, index, scheduler, user: &task.owner, time: &time })
    }

    async fn write(
        &self,
        app: &App,
        (folder, name): (String, String),
        series: Option<Series>,
        file: Bytes,
        about: SavedPicture,
    ) -> Result<Option<String>, AppError> {
        let (outputs, format) = (app.outputs.clone(), about.format.clone());
        let text = Some(about.infotext.clone()).filter(|text| self.options.saves_texts && !text.is_empty());
        // The blocking pool: files.
        let saved = blocking(move || {
            let path = outputs.save(&folder, &name, &format, series, &file)?;
            let beside = text
                .map(|text| outputs.save_beside(&path, "txt", format!("{text}\n").as_bytes()))
                .transpose();
            Ok::<_, std::io::Error>((path, beside.err()))
        });
        let (path, text_error) = match saved.await {
            Ok(Ok(saved)) => saved,
            Ok(Err(error)) => {
                return Ok(Some(format!("a picture could not be saved in the folder of outputs: {error}")));
            }
            Err(error) => return Ok(Some(error.to_string())),
        };
        tracing::debug!(path, "picture saved");
        let textless =
            text_error.map(|error| format!("the text of {path} could not be saved beside it: {error}"));
        let mut untold = Vec::new();
        if app.plugins.hears_of_saved_pictures(self.call) {
            let (params, picture) = (plugin_view::params(self.body), SavedPicture { path, ..about });
            untold = app.plugins.picture_saved(self.call, &params, &picture).await?;
        }
        let untold = (!untold.is_empty()).then(|| {
            let plugins = untold.join(", ");
            format!("not every saved picture was told to {plugins}: all plugin slots were busy")
        });
        let warnings: Vec<String> = textless.into_iter().chain(untold).collect();
        Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
    }
}

/// What is known of a file before it is written.
fn about(format: ImageFormat, file: &Bytes) -> SavedPicture {
    SavedPicture {
        path: String::new(),
        format: format.extension().to_owned(),
        bytes: file.len() as u64,
        infotext: String::new(),
        is_grid: false,
    }
}
