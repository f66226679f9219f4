//! A drawing's pictures on their way out: encoded, into the object store under the task's keys, into the folder of outputs
//! where the request asks for that, and together as the grid that the web UI puts before them, which plugins may lay out.
//! Knows neither how they were drawn nor the task's record.

use std::sync::Arc;

use bytes::Bytes;
use gesso_core::pixels::Pixels;
use gesso_picture::mix::{GridRows, grid_shape, image_grid};
use gesso_plugin_host::{ActingPlugin, Grid};
use gesso_store::{ImageFormat, Lease, ObjectKey};

use crate::app::App;
use crate::blocking::blocking;
use crate::error::AppError;
use crate::http::wire::file_format::FileFormat;
use crate::http::wire::grid_options::GridOptions;
use crate::output_names::pixels_hash;
use crate::picture_file;
use crate::plugin_view;
use crate::saved_pictures::{Saving, Unwritten};

/// Pictures that are to stand in one grid.
pub(crate) struct Cells {
    options: GridOptions,
    rows: GridRows,
    pictures: Vec<Arc<Pixels>>,
    /// The first picture's, which is the grid's too.
    infotext: String,
}

impl Cells {
    pub(crate) fn new(options: GridOptions, batch_size: u32) -> Self {
        Self { options, rows: options.rows(batch_size), pictures: Vec::new(), infotext: String::new() }
    }
}

/// Where a drawing's pictures go.
pub(crate) struct Keeping<'a> {
    app: &'a App,
    saving: Saving<'a>,
    format: FileFormat,
    /// Pictures before the first that was drawn, such as a script's own grids; they have no seed of their own.
    before: usize,
    /// Behind the last place that a picture has among those that were drawn.
    next: usize,
    /// `None` where no grid is made.
    cells: Option<Cells>,
    images: Vec<ObjectKey>,
    unsaved: Vec<Unsaved>,
    warnings: Vec<String>,
    /// Those that changed the grid.
    plugins: Vec<ActingPlugin>,
}

/// A file for the folder of outputs. It is written there when nothing is left to do that a shortage could have begun anew:
/// another attempt would save it a second time, under another number.
struct Unsaved {
    what: Saved,
    kind: ImageFormat,
    picture: Unwritten,
}

enum Saved {
    /// By its place among those that were drawn.
    Picture(usize),
    Grid(GridOptions),
}

/// Pictures where they can be found.
pub(crate) struct Kept {
    /// In the order of the reply.
    pub(crate) images: Vec<ObjectKey>,
    pub(crate) warnings: Vec<String>,
    /// Those that changed the grid.
    pub(crate) plugins: Vec<ActingPlugin>,
    /// The infotext of a grid that stands before them.
    pub(crate) grid: Option<String>,
}

impl<'a> Keeping<'a> {
    pub(crate) fn new(
        app: &'a App,
        saving: Saving<'a>,
        format: FileFormat,
        before: usize,
        cells: Option<Cells>,
    ) -> Self {
        // In web UIs saving is what allows one, whether or not it is itself saved.
        let cells = cells.filter(|_| saving.is_wanted);
        Self {
            app,
            saving,
            format,
            before,
            next: 0,
            cells,
            images: Vec::new(),
            unsaved: Vec::new(),
            warnings: Vec::new(),
            plugins: Vec::new(),
        }
    }

    /// Keeps the next picture; `from` is its place among those that hooks were given, `None` for one that a plugin added. One
    /// without infotext is in no grid.
    pub(crate) async fn add(
        &mut self,
        picture: Pixels,
        infotext: String,
        from: Option<usize>,
    ) -> Result<(), AppError> {
        let picture = Arc::new(picture);
        if let Some(cells) = self.cells.as_mut().filter(|_| !infotext.is_empty()) {
            if cells.pictures.is_empty() {
                cells.infotext.clone_from(&infotext);
            }
            cells.pictures.push(picture.clone());
        }
        // What nobody's seed drew has none in its name.
        let drawn = self.saving.info["all_seeds"].as_array().map_or(0, Vec::len);
        let index = from.map_or(self.next.max(drawn), |from| from.saturating_sub(self.before));
        self.next = self.next.max(index + 1);
        let is_hashed = self.saving.names_pixels();
        let (kind, file, pixels_hash) = self.keep(picture, &infotext, is_hashed).await?;
        self.save_later(Saved::Picture(index), kind, Unwritten { file, infotext, pixels_hash });
        Ok(())
    }

    /// Keeps a picture that was not drawn, a mask or a map: it is in the reply alone, as in web UIs.
    pub(crate) async fn add_beside(&mut self, picture: Pixels) -> Result<(), AppError> {
        self.keep(Arc::new(picture), "", false).await.map(drop)
    }

    /// Encodes a picture and stores it: its file, and the hash of its pixels where that is asked for.
    async fn keep(
        &mut self,
        picture: Arc<Pixels>,
        infotext: &str,
        is_hashed: bool,
    ) -> Result<(ImageFormat, Bytes, String), AppError> {
        let (format, text) = (self.format, self.told_in_pictures(infotext));
        // The blocking pool: compression, and hashing.
        let encoded = blocking(move || {
            let hash = if is_hashed { pixels_hash(&picture.data) } else { String::new() };
            picture_file::encode(&picture, &text, format).map(|file| (file, hash))
        });
        let (file, pixels_hash) = encoded
            .await?
            .map_err(|error| AppError::Internal(format!("a picture could not be encoded: {error}")))?;
        let (kind, file) = (picture_file::kind(format), Bytes::from(file));
        let key = self.put(kind, file.clone()).await?;
        self.images.push(key);
        Ok((kind, file, pixels_hash))
    }

    fn save_later(&mut self, what: Saved, kind: ImageFormat, picture: Unwritten) {
        if self.saving.is_wanted {
            self.unsaved.push(Unsaved { what, kind, picture });
        }
    }

    /// Makes the grid of those that were kept, if there is to be one, and saves all of them where the request asks for that.
    /// What cannot be saved for people is a warning.
    pub(crate) async fn finish(mut self) -> Result<Kept, AppError> {
        let cells = self.cells.take().filter(|cells| cells.pictures.len() >= cells.options.pictures_min);
        let grid = match cells {
            Some(cells) => self.add_grid(cells).await?,
            None => None,
        };
        for Unsaved { what, kind, picture } in self.unsaved {
            self.warnings.extend(match what {
                Saved::Picture(index) => self.saving.save(self.app, index, kind, picture).await?,
                Saved::Grid(options) => self.saving.save_grid(self.app, &options, kind, picture).await?,
            });
        }
        Ok(Kept { images: self.images, warnings: self.warnings, plugins: self.plugins, grid })
    }

    /// The pictures are there all the same where a grid of them is too large for a picture or for its kind of file.
    async fn add_grid(&mut self, cells: Cells) -> Result<Option<String>, AppError> {
        let Cells { options, rows, pictures, infotext } = cells;
        if !options.is_returned && !options.is_saved {
            return Ok(None);
        }
        let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
        let shape = grid_shape(count, rows)
            .map_err(|error| AppError::Internal(format!("a grid could not be begun: {error}")))?;
        let (pictures, shape) = self.laid_out(pictures, shape).await?;
        let (text, format) = (self.told_in_pictures(&infotext), self.format);
        let is_hashed = self.saving.names_pixels();
        // The blocking pool: pixels and compression.
        let made = blocking(move || {
            let grid = image_grid(&pictures, shape, options.background).map_err(|error| error.to_string())?;
            let hash = if is_hashed { pixels_hash(&grid.data) } else { String::new() };
            files(&grid, &text, &options, format).map(|files| (files, hash))
        });
        let made = made.await?;
        let ((returned, saved), pixels_hash) = match made {
            Ok(files) => files,
            Err(error) => {
                self.warnings.push(format!(
                    "the pictures have no grid ({error}); choose another n_rows, or png as samples_format and grid_format"
                ));
                return Ok(None);
            }
        };
        if let Some(file) = saved {
            let kind = picture_file::kind(options.format);
            let picture = Unwritten { file, infotext: infotext.clone(), pixels_hash };
            self.save_later(Saved::Grid(options), kind, picture);
        }
        let Some(file) = returned else { return Ok(None) };
        // The last number, so that a picture's path is the same with a grid and without.
        let key = self.put(picture_file::kind(format), file).await?;
        self.images.insert(0, key);
        Ok(Some(infotext))
    }

    /// Pictures, columns and rows as plugins have them.
    async fn laid_out(
        &mut self,
        pictures: Vec<Arc<Pixels>>,
        (columns, rows): (u32, u32),
    ) -> Result<(Vec<Arc<Pixels>>, (u32, u32)), AppError> {
        let Saving { call, body, .. } = &self.saving;
        if !self.app.plugins.lays_out_grids(call) {
            return Ok((pictures, (columns, rows)));
        }
        let pictures = pictures.into_iter().map(Arc::unwrap_or_clone).collect();
        let grid = Grid { pictures, columns, rows };
        let laid_out = self.app.plugins.lay_out_grid(call, &plugin_view::params(body), grid).await;
        let (grid, report) = laid_out.map_err(AppError::of_later_hook)?;
        self.plugins.extend(report.acted);
        self.warnings.extend(report.warnings);
        let Grid { pictures, columns, rows } = grid;
        Ok((pictures.into_iter().map(Arc::new).collect(), (columns, rows)))
    }

    /// What a picture's file says of how it was drawn.
    fn told_in_pictures(&self, infotext: &str) -> String {
        if self.saving.options.tells_in_pictures { infotext.to_owned() } else { String::new() }
    }

    /// Stores a file under the next number, from 1.
    async fn put(&self, kind: ImageFormat, file: Bytes) -> Result<ObjectKey, AppError> {
        let Lease { task, attempt, .. } = self.saving.lease;
        let number = self.images.len() as u32 + 1;
        let key = ObjectKey::image(&task.owner, &task.id, *attempt, number, kind)
            .map_err(|error| AppError::Internal(error.to_string()))?;
        self.app.objects.put(&key, file).await?;
        Ok(key)
    }
}

/// The grid as the file of the reply, in `format`, and as that which is saved; each where it is wanted.
fn files(
    grid: &Pixels,
    infotext: &str,
    options: &GridOptions,
    format: FileFormat,
) -> Result<(Option<Bytes>, Option<Bytes>), String> {
    let encoded = |format| picture_file::encode(grid, infotext, format).map(Bytes::from);
    let returned = options.is_returned.then(|| encoded(format)).transpose()?;
    let saved = match &returned {
        _ if !options.is_saved => None,
        Some(file) if options.format == format => Some(file.clone()),
        _ => Some(encoded(options.format)?),
    };
    Ok((returned, saved))
}
