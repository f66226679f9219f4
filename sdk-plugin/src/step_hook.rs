//! Step hooks, which act on tensors within the sampler's steps: the trait an author implements, the macro that makes it a
//! component, and the adapter between the two.

use std::marker::PhantomData;

use serde_json::Value;

use crate::{Fault, Tensor};

/// Where in a call of the network a hook acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before it: `latent` may be changed.
    Latent,
    /// Behind it, before guidance: `positive` and `negative` may be changed.
    Predicted,
    /// Behind guidance: `guided` may be changed.
    Guided,
}

/// One moment of a drawing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    pub point: Point,
    /// The sampler's step, from 0, and how many there are.
    pub step: u32,
    pub steps: u32,
    /// The call of the network within the step, from 0: samplers of second order make two in most steps.
    pub call: u32,
    /// The noise level: the latent is `scale` times the sum of what is drawn and `sigma` times noise of deviation 1.
    pub sigma: f64,
    /// 1 for samplers that go by noise levels, less for those that go by timesteps.
    pub scale: f64,
    /// What the network is told of the noise level, from 0 for none to 999, with fractions.
    pub timestep: f64,
    /// The factor by which guidance goes from the negative prompt's estimate towards the positive one's; 1 where a call leaves
    /// the negative prompt out.
    pub guidance: f64,
    /// The picture's place in its drawing, from 0.
    pub picture: u32,
    /// The picture's own seed, the same whether it is drawn alone or beside others.
    pub seed: u64,
    /// The second, high-resolution pass.
    pub is_second: bool,
}

/// The tensors of a moment. What the point does not let change may be changed too, and is forgotten.
#[derive(Debug)]
pub struct StepTensors {
    /// The latent under way, as the sampler scales it.
    pub latent: Tensor,
    /// What the finished latent is by the prompt, all parts that `AND` joins together; not there before the network has answered.
    pub positive: Option<Tensor>,
    /// The same by the negative prompt; by the first part of the prompt where a call leaves the negative one out.
    pub negative: Option<Tensor>,
    /// What guidance made of both.
    pub guided: Option<Tensor>,
}

/// Code that acts within the sampler's steps. Each call gets a fresh instance; the manifest's `steps` says for which there
/// are calls.
pub trait StepHook {
    /// `arguments` has a value for each argument of the manifest.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] is a sentence for the client and ends its request; any other fault fails the plugin's call.
    fn on_step(arguments: &[Value], at: &Moment, tensors: StepTensors) -> Result<(), Fault>;
}

/// Makes a [`StepHook`] the component's export and embeds the manifest, a path from the package's folder. Once per
/// crate, whose `crate-type` must contain `cdylib`. Beside the macro of another world, which embeds the manifest,
/// without one: `step_hook!(Plugin)`.
#[macro_export]
macro_rules! step_hook {
    ($plugin:ty, manifest = $manifest:literal) => {
        const _: () = {
            $crate::__embed_manifest!($manifest);
        };
        $crate::step_hook!($plugin);
    };
    ($plugin:ty) => {
        const _: () = {
            type Component = $crate::__private::StepHookAdapter<$plugin>;
            // Native builds are for tests; their linkers do not take the names a component exports.
            #[cfg(target_family = "wasm")]
            $crate::__private::step_hook::export_step_hook!(
                Component with_types_in $crate::__private::step_hook
            );
            const _: std::marker::PhantomData<Component> = std::marker::PhantomData;
        };
    };
}

#[doc(hidden)]
pub struct Adapter<T>(PhantomData<T>);

/// Between the trait and the contract, for components: a native target has no host that would call one.
#[cfg(target_family = "wasm")]
mod component {
    use serde_json::Value;

    use super::{Adapter, Moment, Point, StepHook, StepTensors};
    use crate::bindings::request_hook::gesso::plugin::types;
    use crate::bindings::step_hook as host;
    use crate::{Fault, Tensor};

    impl<T: StepHook> host::Guest for Adapter<T> {
        fn on_step(arguments: types::Json, at: host::Moment, given: host::Given) -> Result<(), types::Fault> {
            let arguments: Vec<Value> = serde_json::from_str(&arguments)
                .map_err(|error| Fault::InvalidInput(format!("The arguments are no list: {error}.")))?;
            let host::Moment {
                point,
                step,
                steps,
                call,
                sigma,
                scale,
                timestep,
                guidance,
                picture,
                seed,
                is_second,
            } = at;
            let point = match point {
                host::Point::Latent => Point::Latent,
                host::Point::Predicted => Point::Predicted,
                host::Point::Guided => Point::Guided,
            };
            let moment = Moment {
                point,
                step,
                steps,
                call,
                sigma,
                scale,
                timestep,
                guidance,
                picture,
                seed,
                is_second,
            };
            let tensors = StepTensors {
                latent: Tensor::from_host(given.latent),
                positive: given.positive.map(Tensor::from_host),
                negative: given.negative.map(Tensor::from_host),
                guided: given.guided.map(Tensor::from_host),
            };
            Ok(T::on_step(&arguments, &moment, tensors)?)
        }
    }
}
