//! Tensors on the server's device, within a sampler's step. A plugin has handles; numbers are copied only where they are
//! read or written.

use crate::Fault;
use crate::host::tensors as host;

pub use crate::bindings::step_hook::gesso::plugin0_2_0::tensors::{Axis, Binary, Over, Reduction, Unary};

/// Channels, rows and columns of 32-bit numbers. A call may hold 64; dropping one gives its place back.
#[derive(Debug)]
pub struct Tensor(host::Tensor);

impl Tensor {
    /// How many channels, rows and columns.
    ///
    /// # Errors
    /// [`Fault::DeadlineExceeded`], as of every function here, where the host waits no longer.
    pub fn shape(&self) -> Result<(u32, u32, u32), Fault> {
        Ok(self.0.shape()?)
    }

    /// A copy.
    ///
    /// # Errors
    /// [`Fault::LimitExceeded`] where the call holds as many as it may.
    pub fn duplicate(&self) -> Result<Self, Fault> {
        Ok(Self(self.0.duplicate()?))
    }

    /// Each element becomes the function of itself.
    ///
    /// # Errors
    /// As [`Self::shape`].
    pub fn apply(&mut self, op: Unary) -> Result<(), Fault> {
        Ok(self.0.apply(op)?)
    }

    /// Each element becomes the function of itself and of the other's. The other has the same size, or 1 along some axes,
    /// where it meets every element.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where the sizes do not fit.
    pub fn combine(&mut self, op: Binary, other: &Self) -> Result<(), Fault> {
        Ok(self.0.combine(op, &other.0)?)
    }

    /// The same with one number for all.
    ///
    /// # Errors
    /// As [`Self::shape`].
    pub fn combine_number(&mut self, op: Binary, number: f32) -> Result<(), Fault> {
        Ok(self.0.combine_number(op, number)?)
    }

    /// A new tensor, with 1 along the axes that it went over.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] for a quantile of less than 0 or more than 1, [`Fault::LimitExceeded`] as [`Self::duplicate`].
    pub fn reduce(&self, op: Reduction, over: Over) -> Result<Self, Fault> {
        Ok(Self(self.0.reduce(op, over)?))
    }

    /// A new tensor of `count` channels, rows or columns from `first` on.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where they are not there.
    pub fn slice(&self, along: Axis, first: u32, count: u32) -> Result<Self, Fault> {
        Ok(Self(self.0.slice(along, first, count)?))
    }

    /// Overwrites the channels, rows or columns from `first` on by the other.
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where it does not fit.
    pub fn paste(&mut self, along: Axis, first: u32, other: &Self) -> Result<(), Fault> {
        Ok(self.0.paste(along, first, &other.0)?)
    }

    /// Overwrites all elements by standard normal numbers: those that PyTorch draws on a processor under this seed.
    ///
    /// # Errors
    /// As [`Self::shape`].
    pub fn draw(&mut self, seed: u64) -> Result<(), Fault> {
        Ok(self.0.draw(seed)?)
    }

    /// The elements, channel by channel and row by row. Everything waits for the device meanwhile.
    ///
    /// # Errors
    /// [`Fault::NotPermitted`] without the grant `read_tensors`.
    pub fn read(&self) -> Result<Vec<f32>, Fault> {
        Ok(self.0.read()?)
    }

    /// Overwrites all elements, in the order of [`Self::read`].
    ///
    /// # Errors
    /// [`Fault::InvalidInput`] where there are more or fewer values.
    pub fn write(&mut self, values: &[f32]) -> Result<(), Fault> {
        Ok(self.0.write(values)?)
    }

    pub(crate) fn from_host(tensor: host::Tensor) -> Self {
        Self(tensor)
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn as_host(&self) -> &host::Tensor {
        &self.0
    }
}
