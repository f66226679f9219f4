//! Self-attentions that read another picture beside their own, against diffusers' modules on random weights
//! (`tests/fixtures/make_reference_fixtures.py`), and what must hold whatever the weights.

use gesso_core::control::{ControlMode, ControlUnit, REFERENCE};
use gesso_torch::{Context, Extras, Networks, Reference};
use tch::{Device, Kind, Tensor};

use crate::support::{Archive, fixture, relative_error};

const BOUND: f64 = 1e-4;
/// Of the same sums in another order.
const ROUNDING: f64 = 1e-5;

/// The tiny UNet, a call of two rows, the second under the negative prompt, and a picture at the same levels.
struct Scene {
    networks: Networks,
    context: Context,
    x: Tensor,
    t: Tensor,
    other: Tensor,
}

/// Even numbers of about unit variance; libtorch's generator is every test's.
fn drawn(seed: i64, shape: &[i64]) -> Tensor {
    let places = Tensor::arange(shape.iter().product::<i64>(), (Kind::Double, Device::Cpu));
    let waves = (places * 12.9898 + seed as f64 * 78.233).sin() * 43_758.545_3;
    (waves.frac() * 1.7).to_kind(Kind::Float).reshape(shape)
}

impl Scene {
    fn new(text: &Tensor, x: Tensor, t: Tensor, other: Tensor) -> Self {
        let (_folder, path) = Archive::tiny().write();
        let networks = Networks::load(&path, Kind::Float).unwrap();
        let context = networks.context(text, None).unwrap();
        Self { networks, context, x, t, other }
    }

    /// Inputs that no fixture needs.
    fn any() -> Self {
        let x = |seed| drawn(seed, &[2, 4, 8, 8]);
        Self::new(&drawn(3, &[2, 77, 64]), x(1), Tensor::from_slice(&[700.0f32, 130.25]), x(2))
    }

    fn states(&self, picture: &Tensor) -> Vec<Tensor> {
        self.networks.hidden_states(picture, &self.t, &self.context, None).unwrap()
    }

    /// The prediction beside pictures, as a unit reads them.
    fn beside(&self, pictures: &[&Tensor], unit: &ControlUnit) -> Tensor {
        let records = pictures.iter().map(|picture| {
            let states = self.states(picture);
            let channels: Vec<i64> = states.iter().map(|state| state.size()[2]).collect();
            let reading = unit.reading(&channels);
            (states, reading)
        });
        let own = (Tensor::from_slice(&[1i64]), unit.style_fidelity());
        let reference = Reference::new(records.collect(), Some(own)).unwrap();
        let extras = Extras { reference: Some(&reference), ..Extras::default() };
        self.networks.predict_noise_with(&self.x, &self.t, &self.context, &extras).unwrap()
    }

    fn plain(&self) -> Tensor {
        self.networks.predict_noise_with(&self.x, &self.t, &self.context, &Extras::default()).unwrap()
    }
}

/// A unit whose negative rows keep to their own picture in this share.
fn unit(weight: f64, fidelity: f64) -> ControlUnit {
    ControlUnit { module: REFERENCE.into(), weight, threshold_a: Some(fidelity), ..ControlUnit::default() }
}

fn row(tensor: &Tensor, row: i64) -> Tensor {
    tensor.narrow(0, row, 1)
}

#[test]
fn predictions_beside_another_picture_equal_diffusers() {
    let goldens = Archive::read(&fixture("reference.safetensors"));
    let golden = |name: &str| goldens.tensor(name);
    let (first, second) = (golden("first"), golden("second"));
    let scene = Scene::new(&golden("context"), golden("x"), golden("t"), first.shallow_clone());
    let check = |what: &str, got: &Tensor| {
        let error = relative_error(got, &golden(what));
        println!("{what}: {error:.1e}");
        assert!(error < BOUND, "{what} differs by {error:e}");
    };
    check("plain", &scene.plain());
    check("state.3", &scene.states(&first)[3]);
    check("whole", &scene.beside(&[&first], &unit(1.0, 0.0)));
    check("half", &scene.beside(&[&first], &unit(0.5, 0.0)));
    check("faithful", &scene.beside(&[&first], &unit(1.0, 0.25)));
    check("two", &scene.beside(&[&first, &second], &unit(1.0, 0.5)));
}

#[test]
fn a_picture_beside_itself_changes_nothing() {
    let scene = Scene::any();
    // Every key is there twice, and so has half of its weight each time.
    let error = relative_error(&scene.beside(&[&scene.x], &unit(1.0, 0.0)), &scene.plain());
    assert!(error < ROUNDING, "{error:e}");
    let error = relative_error(&scene.beside(&[&scene.other], &unit(1.0, 0.0)), &scene.plain());
    assert!(error > 0.01, "another one changes nothing: {error:e}");
    let none = scene.beside(&[&scene.other], &unit(0.0, 0.0));
    assert_eq!(relative_error(&none, &scene.plain()), 0.0, "without weight nothing reads it");
}

#[test]
fn negative_rows_keep_to_their_own_picture_as_far_as_they_are_told() {
    let scene = Scene::any();
    let plain = scene.plain();
    let of = |fidelity| scene.beside(&[&scene.other], &unit(1.0, fidelity));
    let [free, half, whole] = [0.0, 0.5, 1.0].map(of);
    for mixed in [&half, &whole] {
        let error = relative_error(&row(mixed, 0), &row(&free, 0));
        assert!(error < ROUNDING, "the prompt's row is none of it: {error:e}");
    }
    let far = |picture: &Tensor| relative_error(&row(picture, 1), &row(&plain, 1));
    assert!(far(&whole) < ROUNDING && far(&half) > ROUNDING && far(&free) > 0.01);
    let prevailing = ControlUnit { mode: ControlMode::Control, ..unit(1.0, 0.0) };
    let error = relative_error(&scene.beside(&[&scene.other], &prevailing), &whole);
    assert!(error < ROUNDING, "{error:e}");
}

#[test]
fn rows_read_their_own_reference_alone() {
    let scene = Scene::any();
    let together = scene.beside(&[&scene.other], &unit(1.0, 0.0));
    let text = drawn(3, &[2, 77, 64]);
    for place in [0, 1] {
        let [x, t, other, text] = [&scene.x, &scene.t, &scene.other, &text].map(|all| row(all, place));
        let single = Scene::new(&text, x, t, other);
        let states = single.states(&single.other);
        let reading = vec![true; states.len()];
        let reference = Reference::new(vec![(states, reading)], None).unwrap();
        let extras = Extras { reference: Some(&reference), ..Extras::default() };
        let networks = &single.networks;
        let alone = networks.predict_noise_with(&single.x, &single.t, &single.context, &extras).unwrap();
        let error = relative_error(&alone, &row(&together, place));
        assert!(error < ROUNDING, "row {place}: {error:e}");
    }
}

#[test]
fn references_of_another_network_are_refused() {
    let scene = Scene::any();
    let mut states = scene.states(&scene.other);
    let reading = vec![true; states.len()];
    let whole = (scene.states(&scene.other), reading.clone());
    states.pop();
    let short = (states, reading[1..].to_vec());
    assert!(Reference::new(vec![whole, (vec![], vec![])], None).is_err());
    let reference = Reference::new(vec![short], None).unwrap();
    let extras = Extras { reference: Some(&reference), ..Extras::default() };
    assert!(scene.networks.predict_noise_with(&scene.x, &scene.t, &scene.context, &extras).is_err());
}
