//! What a drawing may have of the machine: threads and memory, on the tiny checkpoint.

use std::path::Path;
use std::sync::Arc;

use gesso_core::hires::{Hires, HiresSize, HiresUpscaler, LatentUpscaler};
use gesso_core::img2img::{Img2Img, ResizeMode};
use gesso_core::pixels::Pixels;
use gesso_core::prompt::{Clock, Conditioning};
use gesso_core::request::GenerateRequest;
use gesso_engine::backend::{Backend, BackendError, PassSpec, UpscaleBy};
use gesso_engine::clock::MonotonicClock;
use gesso_engine::{
    CancelFlag, Drawing, Engine, EngineSettings, JobError, JobSpec, Resources, Share, Source, Work,
};
use gesso_torch::{DtypeChoice, TorchBackend, TorchSettings};

use crate::passes::{self, gradient, over, two_passes};
use crate::support::{Archive, agreement, model_file, request};

fn settings() -> TorchSettings {
    TorchSettings { dtype: DtypeChoice::F32, ..TorchSettings::default() }
}

fn draw(share: Share) -> Result<Pixels, JobError> {
    draw_of("a cat", share)
}

fn draw_of(prompt: &str, share: Share) -> Result<Pixels, JobError> {
    let (_folder, path) = Archive::tiny().write();
    let factory = Box::new(|| TorchBackend::open(settings()));
    let (_engine, handle) =
        Engine::start(EngineSettings::default(), Arc::new(MonotonicClock::default()), factory).unwrap();
    let request = GenerateRequest { steps: 3, ..request(prompt, 3, 64, 64) };
    let drawing = Drawing { share, ..Drawing::new(request, model_file(&path)) };
    let work = Work::Draw(Box::new(drawing));
    let job = handle.submit(JobSpec { work, priority: 0, cancel: CancelFlag::default() }).unwrap();
    job.blocking_finish().map(|mut pictures| pictures.remove(0))
}

fn within(mib: u64) -> Share {
    Share { bytes_max: Some(mib << 20), ..Share::default() }
}

#[test]
fn a_picture_that_takes_more_than_its_share_is_refused_and_one_that_fits_is_the_same() {
    let Err(JobError::Backend(BackendError::Request(why))) = draw(within(1)) else {
        panic!("a step alone takes 5 MiB")
    };
    assert!(why.contains("64 x 64") && why.contains("may take 1 MiB"), "{why}");
    let whole = draw(Share::default()).unwrap();
    // The first has no room to decode it as a whole.
    for share in [within(30), within(1024), Share { threads: Some(1), ..Share::default() }] {
        let drawn = draw(share).unwrap();
        let worst = drawn.data.iter().zip(&whole.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{share:?}: {worst:?}");
    }
}

/// Whether a picture is drawn otherwise within so little that what goes into it has no room to be encoded as a whole. What
/// is drawn is small enough to be decoded as a whole all the same.
fn is_encoded_in_tiles(drawing: &dyn Fn() -> Drawing) -> bool {
    let engine = passes::engine();
    let drawn = |share| passes::draw(&engine, Drawing { share, ..drawing() }).data;
    let whole = drawn(Share::default());
    assert!(agreement(&drawn(within(2048)), &whole) >= 0.999, "there is room for it");
    agreement(&drawn(within(200)), &whole) < 0.999
}

#[test]
fn a_picture_too_large_for_the_share_is_encoded_in_tiles() {
    let (_folder, path) = Archive::tiny().write();
    // The first takes 1.1 GiB to be encoded as a whole; the other is one tile, and so the same.
    for (picture, is_cut) in [(gradient(768, 512), true), (gradient(512, 512), false)] {
        let over_it = || {
            let mut drawing = passes::drawing(&path, |request| {
                let resize_mode = ResizeMode::Latent;
                request.img2img = Some(Img2Img { resize_mode, ..over(0.5, None) });
            });
            drawing.source = Some(Source { pictures: vec![picture.clone()], mask: None });
            drawing
        };
        assert_eq!(is_encoded_in_tiles(&over_it), is_cut);
        let by = UpscaleBy::Latent(LatentUpscaler::Bilinear);
        let second_pass = || two_passes(&path, by.clone(), Some(picture.clone()));
        assert_eq!(is_encoded_in_tiles(&second_pass), is_cut);
    }
}

#[test]
fn parts_that_do_not_fit_into_one_call_are_computed_in_several() {
    // 19 rows with the negative prompt: more than a call has in any case, and than the share has room for.
    let prompt = ["a cat", "a dog", "rain"].repeat(6).join(" AND ");
    let whole = draw_of(&prompt, Share::default()).unwrap();
    let drawn = draw_of(&prompt, within(30)).unwrap();
    let worst = drawn.data.iter().zip(&whole.data).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "{worst:?}");
}

/// Opens a first pass of 64 x 64 and drops it.
fn open(
    backend: &mut TorchBackend,
    path: &Path,
    request: &GenerateRequest,
    share: Share,
) -> Result<(), BackendError> {
    let clock = Clock::new(1);
    let spec = PassSpec {
        model: &model_file(path),
        resources: &Resources::default(),
        request,
        width: 64,
        height: 64,
        steps: 1,
        is_second: false,
        positive: &Conditioning::positive("", clock),
        negative: &Conditioning::negative("", clock),
        source: None,
        refiner: None,
        share,
    };
    backend.open_pass(&spec).map(drop)
}

#[test]
fn a_second_pass_that_takes_more_than_the_share_is_refused_with_the_first() {
    let (_folder, path) = Archive::tiny().write();
    let mut backend = TorchBackend::open(settings()).unwrap();
    let larger = |scale| {
        let hires = Hires {
            size: HiresSize::Scale(scale),
            upscaler: HiresUpscaler::Latent(LatentUpscaler::Bilinear),
            denoising_strength: 0.5,
            steps: None,
            sampler: None,
            scheduler: None,
            prompt: None,
            negative_prompt: None,
            model: None,
            from_picture: false,
        };
        GenerateRequest { hires: Some(hires), ..request("a cat", 3, 64, 64) }
    };
    // Before the checkpoint is loaded, and beside it.
    for _ in 0..2 {
        let refused = open(&mut backend, &path, &larger(8.0), within(30)).unwrap_err();
        assert!(
            matches!(&refused, BackendError::Request(why) if why.contains("512 x 512")),
            "a step takes 320 MiB: {refused}"
        );
        assert_eq!(open(&mut backend, &path, &larger(8.0), Share::default()), Ok(()));
        assert_eq!(open(&mut backend, &path, &larger(1.0), within(30)), Ok(()));
    }
}

#[test]
fn a_pass_is_computed_on_its_shares_threads_and_the_next_on_as_many_as_any() {
    let (_folder, path) = Archive::tiny().write();
    let mut backend = TorchBackend::open(TorchSettings { threads: 2, ..settings() }).unwrap();
    let request = request("a cat", 3, 64, 64);
    let mut threads_of = |share| {
        open(&mut backend, &path, &request, share).unwrap();
        tch::get_num_threads()
    };
    assert_eq!(threads_of(Share { threads: Some(1), ..Share::default() }), 1);
    assert_eq!(threads_of(Share::default()), 2);
    assert_eq!(threads_of(Share { threads: Some(0), ..Share::default() }), 2);
}
