//! `save_images`: pictures written into a folder of the server's machine, where people look for them, beside the object
//! store, where programs do.

use bytes::Bytes;
use gesso_plugin_host::{CallContext, ChainReport, SavedPicture};
use gesso_store::{ImageFormat, Lease, Series};
use serde_json::{Map, Value};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::generate::Drawing;
use crate::http::wire::grid_options::GridOptions;
use crate::http::wire::output_options::OutputOptions;
use crate::http::wire::styles::Styling;
use crate::output_names::{Facts, Zones, expand, expand_name, names_pixels};
use crate::plugin_view;

/// A picture that is to be saved.
pub(crate) struct Unwritten {
    pub(crate) file: Bytes,
    pub(crate) infotext: String,
    /// Of its pixels; empty unless [`Saving::names_pixels`] asks for it.
    pub(crate) pixels_hash: String,
}

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
    /// What styles made of the body's prompts.
    pub(crate) styling: &'a Styling,
    /// Of the body: whether it asks for saving at all.
    pub(crate) is_wanted: bool,
    /// Those that the options name.
    zones: Zones,
}

impl<'a> Saving<'a> {
    /// As the body says.
    ///
    /// # Errors
    /// Of the blocking pool alone.
    pub(crate) async fn new(
        (kind, call): (Drawing, &'a CallContext),
        lease: &'a Lease,
        body: &'a Map<String, Value>,
        info: &'a Value,
        scheduler: &'a str,
        (options, styling): (&'a OutputOptions, &'a Styling),
    ) -> Result<Self, AppError> {
        let is_wanted = body.get("save_images") == Some(&Value::Bool(true));
        let zones = if is_wanted {
            let patterns = [options.name.clone(), options.folder.clone()];
            // The blocking pool: the machine's zone files.
            blocking(move || Zones::of(patterns.iter().map(String::as_str))).await?
        } else {
            Zones::default()
        };
        Ok(Self { kind, call, lease, body, info, scheduler, options, styling, is_wanted, zones })
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
        Unwritten { file, infotext, pixels_hash }: Unwritten,
    ) -> Result<Option<String>, AppError> {
        if !self.is_wanted || !self.options.saves_pictures {
            return Ok(None);
        }
        let is_numbered = self.options.is_numbered;
        let picture = (index, pixels_hash.as_str());
        let mut name = self.name(picture);
        if name.is_empty() && !is_numbered {
            name = expand_name("[seed]", &self.facts(picture));
        }
        let folder = self.folder("images", self.options.in_folders, picture);
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
        Unwritten { file, infotext, pixels_hash }: Unwritten,
    ) -> Result<Option<String>, AppError> {
        if !self.is_wanted {
            return Ok(None);
        }
        let picture = (0, pixels_hash.as_str());
        let name = if options.is_named { self.name(picture) } else { String::new() };
        let is_numbered = self.options.is_numbered || name.is_empty();
        let folder = self.folder("grids", options.in_folders, picture);
        let about = SavedPicture { infotext, is_grid: true, ..about(format, &file) };
        self.write(app, (folder, name), is_numbered.then_some(Series::GRIDS), file, about).await
    }

    /// Whether names depend on the pixels of pictures.
    pub(crate) fn names_pixels(&self) -> bool {
        self.is_wanted
            && [&self.options.name, &self.options.folder].iter().any(|pattern| names_pixels(pattern))
    }

    /// The name that the options give a picture, by its place and hash.
    fn name(&self, picture: (usize, &str)) -> String {
        expand_name(&self.options.name, &self.facts(picture))
    }

    fn folder(&self, of: &str, in_folders: bool, picture: (usize, &str)) -> String {
        let own = format!("{}/{}-{of}", self.lease.task.owner, self.kind.as_str());
        match expand(&self.options.folder, &self.facts(picture)) {
            below if in_folders && !below.is_empty() => format!("{own}/{below}"),
            _ => own,
        }
    }

    fn facts<'b>(&'b self, (index, pixels_hash): (usize, &'b str)) -> Facts<'b> {
        let task = &self.lease.task;
        let started_ms = task.started_ms.unwrap_or(task.created_ms);
        let time = jiff::Timestamp::from_millisecond(started_ms as i64).unwrap_or_default();
        let (info, scheduler, words) = (self.info, self.scheduler, self.options.prompt_words);
        // A plugin may have made other prompts of the styled one, and nobody knows what of them is style.
        let is_styled = self.body.get("prompt") == Some(&info["all_prompts"][index]);
        let plain_prompt = self.styling.asked("prompt").filter(|_| is_styled);
        let (user, zones) = (task.owner.as_str(), &self.zones);
        Facts { info, index, scheduler, user, plain_prompt, time, zones, words, pixels_hash }
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
        let (mut untold, mut report) = (Vec::new(), ChainReport::default());
        if app.plugins.hears_of_saved_pictures(self.call) {
            let (params, picture) = (plugin_view::params(self.body), SavedPicture { path, ..about });
            (untold, report) = app.plugins.picture_saved(self.call, &params, &picture).await?;
        }
        let untold = (!untold.is_empty()).then(|| {
            let plugins = untold.join(", ");
            format!("not every saved picture was told to {plugins}: all plugin slots were busy")
        });
        let warnings: Vec<String> = textless.into_iter().chain(untold).chain(report.warnings).collect();
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
