//! `gesso:plugin/tensors`: a guest's operations on the tensors of a step. They are carried out on the device's thread; here
//! is who may read, and how much may be handed over.

use super::CallState;
use super::gesso::plugin::types::Fault;
use super::step_hook::gesso::plugin0_2_0::tensors as wit;
use crate::step_port::{TensorHandle, TooLate};
use gesso_core::noise::Mt19937;
use gesso_core::step_hook::{
    Axis, Binary, Over, Part, Reduction, TensorAnswer, TensorError, TensorId, TensorOp, Unary,
};
use wasmtime::component::Resource;

type Handle = Resource<TensorHandle>;
type Answered<T> = wasmtime::Result<Result<T, Fault>>;

impl From<TensorError> for Fault {
    fn from(error: TensorError) -> Self {
        match error {
            TensorError::Invalid(text) => Self::InvalidInput(text),
            TensorError::Limit(text) => Self::LimitExceeded(text),
            TensorError::Device(text) => Self::Other(text),
        }
    }
}

impl From<TooLate> for Fault {
    fn from(_: TooLate) -> Self {
        Self::DeadlineExceeded
    }
}

impl CallState {
    fn tensor(&self, handle: &Handle) -> wasmtime::Result<TensorId> {
        Ok(self.table.get(handle)?.0)
    }

    async fn ask(&mut self, op: TensorOp) -> Result<TensorAnswer, Fault> {
        let Some(port) = self.step.clone() else {
            return Err(Fault::NotPermitted("tensors are there within a sampler's step alone".into()));
        };
        Ok(port.ask(op).await??)
    }

    /// An operation that changes what there is.
    async fn change(&mut self, op: TensorOp) -> Answered<()> {
        Ok(self.ask(op).await.map(drop))
    }

    /// An operation that makes a tensor.
    async fn make(&mut self, op: TensorOp) -> Answered<Handle> {
        match self.ask(op).await {
            Ok(TensorAnswer::Tensor(id)) => Ok(Ok(self.lend_tensor(id)?)),
            Ok(other) => Ok(Err(unexpected(&other))),
            Err(fault) => Ok(Err(fault)),
        }
    }

    async fn shape_of(&mut self, id: TensorId) -> Result<[u32; 3], Fault> {
        match self.ask(TensorOp::Shape(id)).await? {
            TensorAnswer::Shape(shape) => Ok(shape),
            other => Err(unexpected(&other)),
        }
    }

    async fn part_like(&mut self, other: TensorId, axis: Axis, first: u32) -> Result<Part, Fault> {
        let [channels, rows, columns] = self.shape_of(other).await?;
        let count = match axis {
            Axis::Channels => channels,
            Axis::Rows => rows,
            Axis::Columns => columns,
        };
        Ok(Part { first, count })
    }
}

fn unexpected(answer: &TensorAnswer) -> Fault {
    Fault::Other(format!("the device answered {answer:?}"))
}

impl wit::Host for CallState {}

impl wit::HostTensor for CallState {
    async fn shape(&mut self, this: Handle) -> Answered<(u32, u32, u32)> {
        let id = self.tensor(&this)?;
        Ok(self.shape_of(id).await.map(|[channels, rows, columns]| (channels, rows, columns)))
    }

    async fn duplicate(&mut self, this: Handle) -> Answered<Handle> {
        let id = self.tensor(&this)?;
        self.make(TensorOp::Duplicate(id)).await
    }

    async fn apply(&mut self, this: Handle, op: wit::Unary) -> Answered<()> {
        let id = self.tensor(&this)?;
        self.change(TensorOp::Apply(id, op.into())).await
    }

    async fn combine(&mut self, this: Handle, op: wit::Binary, other: Handle) -> Answered<()> {
        let (id, other) = (self.tensor(&this)?, self.tensor(&other)?);
        self.change(TensorOp::Combine(id, op.into(), other)).await
    }

    async fn combine_number(&mut self, this: Handle, op: wit::Binary, number: f32) -> Answered<()> {
        let id = self.tensor(&this)?;
        self.change(TensorOp::CombineNumber(id, op.into(), number)).await
    }

    async fn reduce(&mut self, this: Handle, op: wit::Reduction, over: wit::Over) -> Answered<Handle> {
        let id = self.tensor(&this)?;
        let reduction = Reduction::from(op);
        if let Reduction::Quantile(share) = reduction
            && !(0.0..=1.0).contains(&share)
        {
            return Ok(Err(Fault::InvalidInput(format!("a quantile's share is 0 to 1, not {share}"))));
        }
        self.make(TensorOp::Reduce(id, reduction, over.into())).await
    }

    async fn slice(&mut self, this: Handle, along: wit::Axis, first: u32, count: u32) -> Answered<Handle> {
        let id = self.tensor(&this)?;
        self.make(TensorOp::Slice(id, along.into(), Part { first, count })).await
    }

    async fn paste(&mut self, this: Handle, along: wit::Axis, first: u32, other: Handle) -> Answered<()> {
        let (id, other) = (self.tensor(&this)?, self.tensor(&other)?);
        let axis = Axis::from(along);
        match self.part_like(other, axis, first).await {
            Ok(part) => self.change(TensorOp::Paste(id, axis, part, other)).await,
            Err(fault) => Ok(Err(fault)),
        }
    }

    async fn draw(&mut self, this: Handle, seed: u64) -> Answered<()> {
        let id = self.tensor(&this)?;
        let count = match self.shape_of(id).await {
            Ok([channels, rows, columns]) => channels as usize * rows as usize * columns as usize,
            Err(fault) => return Ok(Err(fault)),
        };
        self.change(TensorOp::Write(id, Mt19937::new(seed).randn(count))).await
    }

    async fn read(&mut self, this: Handle) -> Answered<Vec<f32>> {
        let id = self.tensor(&this)?;
        if !self.capabilities.read_tensors {
            return Ok(Err(Fault::NotPermitted(
                "numbers stay on the device (the grant `read_tensors`)".into(),
            )));
        }
        Ok(match self.ask(TensorOp::Read(id)).await {
            Ok(TensorAnswer::Values(values)) => Ok(values),
            Ok(other) => Err(unexpected(&other)),
            Err(fault) => Err(fault),
        })
    }

    async fn write(&mut self, this: Handle, values: Vec<f32>) -> Answered<()> {
        let id = self.tensor(&this)?;
        self.change(TensorOp::Write(id, values)).await
    }

    fn drop(&mut self, this: Handle) -> wasmtime::Result<()> {
        let TensorHandle(id) = self.table.delete(this)?;
        if let Some(port) = &self.step {
            port.tell(TensorOp::Forget(id));
        }
        Ok(())
    }
}

impl From<wit::Unary> for Unary {
    fn from(op: wit::Unary) -> Self {
        match op {
            wit::Unary::Absolute => Self::Absolute,
            wit::Unary::SquareRoot => Self::SquareRoot,
            wit::Unary::Exponential => Self::Exponential,
            wit::Unary::Logarithm => Self::Logarithm,
            wit::Unary::Tanh => Self::Tanh,
            wit::Unary::Sign => Self::Sign,
            wit::Unary::Sine => Self::Sine,
            wit::Unary::Cosine => Self::Cosine,
            wit::Unary::ArcCosine => Self::ArcCosine,
            wit::Unary::Floor => Self::Floor,
        }
    }
}

impl From<wit::Binary> for Binary {
    fn from(op: wit::Binary) -> Self {
        match op {
            wit::Binary::Add => Self::Add,
            wit::Binary::Subtract => Self::Subtract,
            wit::Binary::Multiply => Self::Multiply,
            wit::Binary::Divide => Self::Divide,
            wit::Binary::Minimum => Self::Minimum,
            wit::Binary::Maximum => Self::Maximum,
            wit::Binary::Power => Self::Power,
        }
    }
}

impl From<wit::Reduction> for Reduction {
    fn from(op: wit::Reduction) -> Self {
        match op {
            wit::Reduction::Sum => Self::Sum,
            wit::Reduction::Mean => Self::Mean,
            wit::Reduction::Deviation => Self::Deviation,
            wit::Reduction::Minimum => Self::Minimum,
            wit::Reduction::Maximum => Self::Maximum,
            wit::Reduction::Norm => Self::Norm,
            wit::Reduction::Quantile(share) => Self::Quantile(share),
        }
    }
}

impl From<wit::Over> for Over {
    fn from(over: wit::Over) -> Self {
        match over {
            wit::Over::Everything => Self::Everything,
            wit::Over::Places => Self::Places,
            wit::Over::Channels => Self::Channels,
        }
    }
}

impl From<wit::Axis> for Axis {
    fn from(axis: wit::Axis) -> Self {
        match axis {
            wit::Axis::Channels => Self::Channels,
            wit::Axis::Rows => Self::Rows,
            wit::Axis::Columns => Self::Columns,
        }
    }
}
