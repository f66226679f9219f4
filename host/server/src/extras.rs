//! Enlarging pictures that are there already and restoring their faces, for the extras routes: decoded, given to the
//! engine once for each upscaler, mixed, cut to size, given to it once for each face restorer, encoded; in another order
//! where the caller's options say so. Nothing is stored: who stops waiting loses the result, and its jobs end.

use std::sync::Arc;

use gesso_core::hires::UpscaleTiles;
use gesso_core::infotext::Infotext;
use gesso_core::pixels::{PixelFormat, Pixels};
use gesso_engine::backend::{FaceRestorer, PixelUpscaler};
use gesso_engine::{CancelFlag, Enlargement, JobSpec, Work};
use gesso_picture::composite::{Rect, crop};
use gesso_picture::convert::to_rgb;
use gesso_picture::decode::DecodeLimits;
use gesso_picture::error::PictureError;
use gesso_picture::mix::blend;

use crate::accounts::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::engine_errors::{engine_failed, engine_refused};
use crate::error::AppError;
use crate::faces::{self, Installed};
use crate::http::wire::extras::{ExtrasRequest, ExtrasSize, FaceStep, Operation, Restorer};
use crate::http::wire::fields::FieldProblem;
use crate::running::RunningGuard;
use crate::tasks::random_id;
use crate::{picture_file, picture_texts, resources, sources};

/// Sides of what the engine enlarges are multiples of this, rounded down.
const SIDE_MULTIPLE: u32 = 8;

/// The results of one request.
#[derive(Debug)]
pub(crate) struct Processed {
    /// Files, in the order of the request.
    pub(crate) files: Vec<Vec<u8>>,
    /// What was done to the last picture, `Key: value, ...`; empty when nothing was.
    pub(crate) infotext: String,
}

/// Does what the request says, picture by picture. Dropping the future cancels what is under way.
pub(crate) async fn process(
    app: &App,
    caller: &Caller,
    request: ExtrasRequest,
) -> Result<Processed, AppError> {
    let ExtrasRequest { field, pictures, size, first, second, faces } = request;
    let options = app.options.of(&caller.name).await?;
    let (format, tiles) = (options.file_format()?, options.upscale_tiles()?);
    let (order, tells) = (options.operation_order()?, options.tells_in_pictures()?);
    let catalogue = app.catalogue.clone();
    let (upscalers, faces) = blocking(move || {
        let upscalers = Upscalers::find(&catalogue, tiles, first, second)?;
        Ok::<_, AppError>((upscalers, FaceSteps::find(&catalogue, faces)?))
    })
    .await??;
    let cancel = CancelFlag::default();
    let running = app.running.enter(random_id()?, &caller.name, cancel.clone());
    let mut processed = Processed { files: Vec::new(), infotext: String::new() };
    for text in pictures {
        let limits = app.source_limits().decode;
        // The blocking pool: decoding.
        let (picture, parameters) = blocking(move || read(field, &text, limits)).await??;
        let mut done = Infotext::default();
        let mut picture = Arc::new(picture);
        for operation in order {
            match operation {
                Operation::Upscale => {
                    if let Some(upscalers) = &upscalers {
                        check_size(&picture, size, limits)?;
                        picture = Arc::new(upscalers.enlarge(app, &running, &cancel, picture, size).await?);
                        done = upscalers.infotext(done, size);
                    }
                }
                Operation::Restore(restorer) => {
                    if let Some(step) = faces.of(restorer) {
                        picture = Arc::new(step.restore(app, &running, &cancel, picture).await?);
                        done = step.infotext(done);
                    }
                }
            }
        }
        processed.infotext = done.to_string();
        let (drawn, worked) =
            if tells { (parameters, processed.infotext.clone()) } else { (String::new(), String::new()) };
        // The blocking pool: encoding.
        let file = blocking(move || picture_file::encode_worked_on(&picture, &drawn, &worked, format));
        processed.files.push(
            file.await?
                .map_err(|error| AppError::Internal(format!("a picture could not be encoded: {error}")))?,
        );
    }
    Ok(processed)
}

/// What restores the faces of every picture.
struct FaceSteps(Vec<FoundStep>);

/// A step with its files.
struct FoundStep {
    asked: FaceStep,
    by: FaceRestorer,
}

impl FaceSteps {
    /// Looks the files of all steps up. Reads folders: call it where blocking is allowed.
    fn find(catalogue: &Catalogue, asked: Vec<FaceStep>) -> Result<Self, AppError> {
        if asked.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let installed = Installed::read(catalogue)?;
        let (mut steps, mut problems) = (Vec::new(), Vec::new());
        for asked in asked {
            match installed.restorer(catalogue, asked.restorer, asked.fidelity, asked.field) {
                Ok(by) => steps.push(FoundStep { asked, by }),
                Err(AppError::Invalid(more)) => problems.extend(more),
                Err(other) => return Err(other),
            }
        }
        if problems.is_empty() { Ok(Self(steps)) } else { Err(AppError::Invalid(problems)) }
    }

    fn of(&self, restorer: Restorer) -> Option<&FoundStep> {
        self.0.iter().find(|step| step.asked.restorer == restorer)
    }
}

impl FoundStep {
    /// The picture with restored faces mixed in.
    async fn restore(
        &self,
        app: &App,
        running: &RunningGuard<'_>,
        cancel: &CancelFlag,
        picture: Arc<Pixels>,
    ) -> Result<Pixels, AppError> {
        let restored = faces::restore(app, Some(running), cancel, 0, picture.clone(), &self.by).await?;
        let share = self.asked.visibility;
        // The blocking pool: mixing.
        let mixed = blocking(move || blend(&picture, &restored, share)).await?;
        mixed.map_err(|error| AppError::Internal(format!("a restored picture could not be mixed: {error}")))
    }

    /// In web UIs' words.
    fn infotext(&self, text: Infotext) -> Infotext {
        let FaceStep { restorer, visibility, fidelity, .. } = self.asked;
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let text = text.field(&format!("{} visibility", restorer.name()), rounded(visibility.into()));
        text.optional_field(
            "CodeFormer weight",
            (restorer == Restorer::CodeFormer).then(|| rounded(fidelity)),
        )
    }
}

/// The picture, and the infotext it was drawn with, if it says so.
fn read(field: &'static str, text: &str, limits: DecodeLimits) -> Result<(Pixels, String), AppError> {
    let file = sources::file(field, text, limits)?;
    let file = file.ok_or_else(|| AppError::invalid(field, format!("{field} holds no picture")))?;
    let picture = sources::pixels(field, &file, limits)?;
    Ok((picture, picture_texts::read(&file).infotext.unwrap_or_default()))
}

/// An upscaler under the name the request has for it.
struct Named {
    name: String,
    by: PixelUpscaler,
}

/// The upscalers of a request.
struct Upscalers {
    first: Named,
    /// With its share.
    second: Option<(Named, f32)>,
}

impl Upscalers {
    /// Looks both names up; `None` without a first one. Reads folders: call it where blocking is allowed.
    fn find(
        catalogue: &Catalogue,
        tiles: UpscaleTiles,
        first: Option<String>,
        second: Option<(String, f32)>,
    ) -> Result<Option<Self>, AppError> {
        let Some(first) = first else { return Ok(None) };
        let mut problems = Vec::new();
        let mut find = |field: &str, name: String| match resources::upscaler(catalogue, &name, tiles) {
            Ok(by) => Ok(Some(Named { name, by })),
            Err(error @ CatalogueError::Unknown { .. }) => {
                let message = format!("{field}: {error}; Lanczos and Nearest are always there");
                problems.push(FieldProblem { field: field.into(), message });
                Ok(None)
            }
            Err(error) => Err(AppError::from(error)),
        };
        let first = find("upscaler_1", first)?;
        let second = match second {
            Some((name, share)) => find("upscaler_2", name)?.map(|named| (named, share)),
            None => None,
        };
        match first {
            Some(first) if problems.is_empty() => Ok(Some(Self { first, second })),
            _ => Err(AppError::Invalid(problems)),
        }
    }

    async fn enlarge(
        &self,
        app: &App,
        running: &RunningGuard<'_>,
        cancel: &CancelFlag,
        picture: Arc<Pixels>,
        size: ExtrasSize,
    ) -> Result<Pixels, AppError> {
        let factor = factor(size, (picture.width, picture.height));
        let enlarge = async |by: &PixelUpscaler| {
            let work = Work::Enlarge(Enlargement { picture: picture.clone(), factor, by: by.clone() });
            let spec = JobSpec { work, priority: 0, cancel: cancel.clone() };
            let job = app.engine.submit(spec).map_err(engine_refused)?;
            running.show(job.progress());
            let enlarged = job.finish().await.map_err(engine_failed)?.pop();
            enlarged.ok_or_else(|| AppError::Internal("the engine enlarged a picture to none".into()))
        };
        let first = enlarge(&self.first.by).await?;
        let second = match &self.second {
            Some((second, share)) => Some((enlarge(&second.by).await?, *share)),
            None => None,
        };
        // The blocking pool: mixing and cutting.
        let finished = blocking(move || finish(first, second, size)).await?;
        finished.map_err(|error| {
            AppError::Internal(format!("an enlarged picture could not be finished: {error}"))
        })
    }

    /// In web UIs' words.
    fn infotext(&self, text: Infotext, size: ExtrasSize) -> Infotext {
        let text = match size {
            ExtrasSize::By(factor) => text.field("Postprocess upscale by", factor),
            ExtrasSize::Cover { width, height, crop } => {
                let size = format!("{width}x{height}");
                text.field("Postprocess upscale to", &size)
                    .optional_field("Postprocess crop to", crop.then_some(size))
            }
        };
        text.field("Postprocess upscaler", &self.first.name)
            .optional_field("Postprocess upscaler 2", self.second.as_ref().map(|(second, _)| &second.name))
    }
}

/// What the engine multiplies the sides by.
///
/// A size is covered as a whole: its sides are rounded up to multiples of eight first, because the engine rounds
/// down; where web UIs leave a black edge, here up to seven pixels more are cut off.
fn factor(size: ExtrasSize, (from_width, from_height): (u32, u32)) -> f64 {
    let ratio = |from: u32, to: u32| {
        let (from, to) = (f64::from(from.max(1)), f64::from(to.next_multiple_of(SIDE_MULTIPLE)));
        let ratio = to / from;
        // Rounding may leave the product a hair too short, which would cost eight pixels.
        if from * ratio < to { ratio.next_up() } else { ratio }
    };
    match size {
        ExtrasSize::By(factor) => factor,
        ExtrasSize::Cover { width, height, .. } => ratio(from_width, width).max(ratio(from_height, height)),
    }
}

/// Refuses what would not be taken back as a source.
fn check_size(picture: &Pixels, size: ExtrasSize, limits: DecodeLimits) -> Result<(), AppError> {
    let factor = factor(size, (picture.width, picture.height));
    let (width, height) = (f64::from(picture.width) * factor, f64::from(picture.height) * factor);
    let DecodeLimits { side_max, pixels_max, .. } = limits;
    if width.max(height) <= f64::from(side_max) && width * height <= pixels_max as f64 {
        return Ok(());
    }
    let field = match size {
        ExtrasSize::By(_) => "upscaling_resize",
        ExtrasSize::Cover { .. } => "upscaling_resize_w",
    };
    let message = format!(
        "{field}: the picture of {} x {} pixels would become {width:.0} x {height:.0}; the limits are {side_max} a \
         side and {pixels_max} in all, so ask for less",
        picture.width, picture.height
    );
    Err(AppError::invalid(field, message))
}

/// Mixes the second result into the first, and cuts the middle out where a size asks for it.
fn finish(first: Pixels, second: Option<(Pixels, f32)>, size: ExtrasSize) -> Result<Pixels, PictureError> {
    let mixed = match second {
        None => first,
        // Networks leave alpha out; a filter beside one must not bring it back.
        Some((second, share)) if first.format == PixelFormat::Rgb8 => {
            blend(&first, &to_rgb(&second)?, share)?
        }
        Some((second, share)) => blend(&first, &second, share)?,
    };
    match size {
        ExtrasSize::Cover { width, height, crop: true } => {
            let corner = |whole: u32, part: u32| (whole / 2).saturating_sub(part / 2);
            let (x, y) = (corner(mixed.width, width), corner(mixed.height, height));
            crop(&mixed, Rect { x, y, width, height })
        }
        _ => Ok(mixed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_of_a_size_covers_it_after_rounding_down() {
        for from in 1..200 {
            for to in [1, 8, 100, 504, 512, 2048] {
                let size = ExtrasSize::Cover { width: to, height: 8, crop: true };
                let factor = factor(size, (from, 4000));
                let enlarged = (f64::from(from) * factor / 8.0).floor() * 8.0;
                assert!(enlarged >= f64::from(to), "{from} to {to}: {enlarged}");
                assert!(enlarged < f64::from(to + 16), "{from} to {to}: {enlarged}");
            }
        }
        assert_eq!(factor(ExtrasSize::Cover { width: 512, height: 512, crop: true }, (512, 768)), 1.0);
    }

    #[test]
    fn a_thin_picture_must_not_become_a_huge_one() {
        let limits = DecodeLimits { bytes_max: 1, side_max: 4096, pixels_max: 1 << 24 };
        let thin = Pixels::new(1, 4000, PixelFormat::Gray8, vec![0; 4000]).unwrap();
        let size = ExtrasSize::Cover { width: 2048, height: 8, crop: true };
        let error = check_size(&thin, size, limits).unwrap_err().to_string();
        assert!(error.contains("would become 2048 x 8192000"), "{error}");
        assert!(check_size(&thin, ExtrasSize::By(1.0), limits).is_ok());
    }

    #[test]
    fn cuts_out_of_the_middle() {
        let row = Pixels::new(5, 1, PixelFormat::Gray8, vec![1, 2, 3, 4, 5]).unwrap();
        let size = ExtrasSize::Cover { width: 3, height: 1, crop: true };
        assert_eq!(finish(row.clone(), None, size).unwrap().data, [2, 3, 4]);
        let kept = ExtrasSize::Cover { width: 3, height: 1, crop: false };
        assert_eq!(finish(row.clone(), None, kept).unwrap(), row);
    }

    #[test]
    fn a_filter_beside_a_network_brings_no_alpha_back() {
        let first = Pixels::new(1, 1, PixelFormat::Rgb8, vec![0, 0, 0]).unwrap();
        let second = Pixels::new(1, 1, PixelFormat::Rgba8, vec![100, 50, 20, 0]).unwrap();
        let mixed = finish(first, Some((second, 0.5)), ExtrasSize::By(1.0)).unwrap();
        assert_eq!((mixed.format, mixed.data), (PixelFormat::Rgb8, vec![50, 25, 10]));
    }
}
