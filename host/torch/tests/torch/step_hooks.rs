//! Hooks within a step see the tensors that their point promises, and guidance goes on from what they leave.

use std::sync::{Arc, Mutex};

use gesso_core::request::GenerateRequest;
use gesso_core::sampler::Sampler;
use gesso_core::step_hook::{
    Binary, Moment, Point, StepHook, StepHookError, TensorAnswer, TensorId, TensorOp, Tensors,
};
use gesso_engine::backend::Backend;

use crate::support::{Archive, Drawing, agreement, backend, model_file, request, step};

const LATENT: TensorId = TensorId::LATENT;
const POSITIVE: TensorId = TensorId::POSITIVE;
const NEGATIVE: TensorId = TensorId::NEGATIVE;
const GUIDED: TensorId = TensorId::GUIDED;

/// What a hook does at its point.
type Does = fn(&Moment, &mut dyn Tensors) -> bool;

struct Hook(Point, Does);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a hook at {:?}", self.0)
    }
}

impl StepHook for Hook {
    fn wants(&self, moment: &Moment) -> bool {
        moment.point == self.0
    }

    fn run(&self, moment: &Moment, tensors: &mut dyn Tensors) -> Result<bool, StepHookError> {
        Ok((self.1)(moment, tensors))
    }
}

fn copy(tensors: &mut dyn Tensors, id: TensorId) -> TensorId {
    match tensors.carry_out(TensorOp::Duplicate(id)).unwrap() {
        TensorAnswer::Tensor(copy) => copy,
        other => panic!("{other:?}"),
    }
}

/// Overwrites `id` by `other`.
fn set(tensors: &mut dyn Tensors, id: TensorId, other: TensorId) {
    tensors.carry_out(TensorOp::CombineNumber(id, Binary::Multiply, 0.0)).unwrap();
    tensors.carry_out(TensorOp::Combine(id, Binary::Add, other)).unwrap();
}

/// Guidance by hand: `negative + guidance * (positive - negative)`.
fn guide(moment: &Moment, tensors: &mut dyn Tensors) -> bool {
    let sum = copy(tensors, POSITIVE);
    tensors.carry_out(TensorOp::Combine(sum, Binary::Subtract, NEGATIVE)).unwrap();
    tensors.carry_out(TensorOp::CombineNumber(sum, Binary::Multiply, moment.guidance as f32)).unwrap();
    tensors.carry_out(TensorOp::Combine(sum, Binary::Add, NEGATIVE)).unwrap();
    set(tensors, GUIDED, sum);
    true
}

fn forget_the_negative(_: &Moment, tensors: &mut dyn Tensors) -> bool {
    set(tensors, NEGATIVE, POSITIVE);
    true
}

fn halve(_: &Moment, tensors: &mut dyn Tensors) -> bool {
    tensors.carry_out(TensorOp::CombineNumber(LATENT, Binary::Multiply, 0.5)).unwrap();
    true
}

fn halve_and_take_back(moment: &Moment, tensors: &mut dyn Tensors) -> bool {
    halve(moment, tensors);
    false
}

/// The share of values within a level of `plain`'s, with these hooks.
fn drawn(request: &GenerateRequest, hooks: &[Hook]) -> Vec<u8> {
    let (_folder, path) = Archive::tiny().write();
    let mut backend = backend();
    let mut drawing = Drawing::begin(&mut backend, &model_file(&path), request);
    let hooks = hooks.iter().map(|Hook(point, does)| Arc::new(Hook(*point, *does)) as Arc<dyn StepHook>);
    drawing.hooks = hooks.collect();
    while step(&mut backend, &mut [&mut drawing]) {}
    backend.finish(drawing.sample, &|| false).unwrap().data
}

#[test]
fn guidance_by_hand_is_guidance() {
    for (sampler, prompt) in
        [(Sampler::Euler, "a cat"), (Sampler::DpmppSde, "a cat"), (Sampler::Ddim, "a cat AND a dog :0.6")]
    {
        let request = GenerateRequest {
            sampler,
            steps: 4,
            cfg_scale: 6.0,
            negative_prompt: "rain".into(),
            ..request(prompt, 3, 64, 64)
        };
        let plain = drawn(&request, &[]);
        let by_hand = agreement(&drawn(&request, &[Hook(Point::Guided, guide)]), &plain);
        assert!(by_hand >= 0.999, "{prompt} by {}: {by_hand}", sampler.label());
        // Without a difference between the prompts there is nothing to go towards, whatever the scale.
        let alone = GenerateRequest { cfg_scale: 1.0, ..request.clone() };
        let forgotten = drawn(&request, &[Hook(Point::Predicted, forget_the_negative)]);
        let agreed = agreement(&forgotten, &drawn(&alone, &[]));
        assert!(agreed >= 0.999, "{prompt} by {}: {agreed}", sampler.label());
        assert!(agreement(&forgotten, &plain) < 0.999, "{prompt}: the negative prompt is seen");
    }
}

/// Guidance by the request's own scale, whatever the call says.
fn guide_by_the_request(moment: &Moment, tensors: &mut dyn Tensors) -> bool {
    guide(&Moment { guidance: 6.0, ..*moment }, tensors)
}

#[test]
fn guidance_by_hand_is_guidance_where_calls_leave_the_negative_prompt_out() {
    let mut request = GenerateRequest { steps: 4, cfg_scale: 6.0, ..request("a cat AND a dog", 3, 64, 64) };
    request.options.skip_early_cond = 1.0;
    let plain = drawn(&request, &[]);
    let by_hand = agreement(&drawn(&request, &[Hook(Point::Guided, guide)]), &plain);
    assert!(by_hand >= 0.999, "{by_hand}");
    // The second part is seen beside the first, which stands in for the negative prompt.
    let otherwise = agreement(&drawn(&request, &[Hook(Point::Guided, guide_by_the_request)]), &plain);
    assert!(otherwise < 0.999, "{otherwise}");
}

#[test]
fn changes_of_the_latent_count_where_the_hook_says_so() {
    let request = GenerateRequest { steps: 3, ..request("a cat", 3, 64, 64) };
    let plain = drawn(&request, &[]);
    assert_eq!(drawn(&request, &[Hook(Point::Latent, halve_and_take_back)]), plain);
    assert!(agreement(&drawn(&request, &[Hook(Point::Latent, halve)]), &plain) < 0.9);
}

/// What hooks at `point` were told.
#[derive(Debug)]
struct Witness(Point, Arc<Mutex<Vec<Moment>>>);

impl StepHook for Witness {
    fn wants(&self, moment: &Moment) -> bool {
        moment.point == self.0
    }

    fn run(&self, moment: &Moment, tensors: &mut dyn Tensors) -> Result<bool, StepHookError> {
        let TensorAnswer::Values(latent) = tensors.carry_out(TensorOp::Read(LATENT)).unwrap() else {
            panic!("there is no latent")
        };
        if moment.step == 0 && moment.call == 0 {
            // The first latent is noise of deviation 1, whatever the sampler counts in.
            let square = latent.iter().map(|value| f64::from(value * value)).sum::<f64>();
            let size = (square / latent.len() as f64).sqrt() / (moment.scale * moment.sigma);
            assert!((0.8..1.25).contains(&size), "{moment:?}: {size}");
        }
        self.1.lock().unwrap().push(*moment);
        Ok(false)
    }
}

#[test]
fn a_hook_is_told_which_call_of_the_step_it_is_and_how_much_noise_there_is() {
    for (sampler, calls) in [
        (Sampler::Heun, vec![(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]),
        (Sampler::Euler, vec![(0, 0), (1, 0), (2, 0), (3, 0)]),
        // One call less than it has timesteps, as in web UIs.
        (Sampler::Ddim, vec![(0, 0), (1, 0), (2, 0)]),
    ] {
        let (_folder, path) = Archive::tiny().write();
        let mut backend = backend();
        let request = GenerateRequest { sampler, steps: 4, ..request("a cat", 3, 64, 64) };
        let mut drawing = Drawing::begin(&mut backend, &model_file(&path), &request);
        let told = Arc::<Mutex<Vec<Moment>>>::default();
        drawing.hooks = vec![Arc::new(Witness(Point::Latent, told.clone()))];
        while step(&mut backend, &mut [&mut drawing]) {}
        let told = told.lock().unwrap();
        let places: Vec<_> = told.iter().map(|moment| (moment.step, moment.call)).collect();
        assert_eq!(places, calls, "{}", sampler.label());
        for pair in told.windows(2) {
            assert!(pair[0].timestep >= pair[1].timestep && pair[0].sigma >= pair[1].sigma, "{pair:?}");
        }
        let by_levels = told.iter().all(|moment| (moment.scale - 1.0).abs() < 1e-9);
        assert_eq!(by_levels, sampler != Sampler::Ddim, "{told:?}");
    }
}
