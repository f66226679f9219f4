//! The tensors of one moment within a step, for code of others: every operation makes a new tensor and leaves the old one as
//! it is, so that nothing of a drawing changes before the hook's changes are taken. Knows no plugin.

use gesso_core::numbers::Numbers;
use gesso_core::step_hook::{
    Axis, Binary, Over, Part, Point, Reduction, TensorAnswer, TensorError, TensorId, TensorOp, Tensors, Unary,
};
use tch::{Kind, TchError, Tensor};

use crate::compute::send;

/// Tensors of one moment: what a hook makes is at most as large as the latent.
const TENSORS_MAX: usize = 64;
/// The first number of what a hook makes. Those of what the host gives are never among them, not at points where some are
/// missing either.
const MADE_FROM: usize = TensorId::GUIDED.0 as usize + 1;
/// Of `[1, channels, rows, columns]`.
const DIMENSIONS: usize = 4;

/// A hook's own view of a moment's tensors.
pub struct StepTensors {
    /// By their numbers; a hole is one that was forgotten or never there.
    held: Vec<Option<Tensor>>,
    changeable: &'static [TensorId],
}

impl StepTensors {
    /// Tensors on the processor that belong to no drawing, to try a hook on: all that are there at `point`. `numbers` says what
    /// is in each, as channels, rows and columns.
    ///
    /// # Errors
    /// [`TensorError::Invalid`] where they are something else.
    pub fn of_numbers(point: Point, numbers: impl Fn(TensorId) -> Numbers) -> Result<Self, TensorError> {
        let given = point.tensors().iter().map(|&id| {
            let Numbers { shape, values } = numbers(id);
            let &[channels, rows, columns] = shape.as_slice() else {
                return Err(TensorError::Invalid(format!("{shape:?} is not channels, rows and columns")));
            };
            let size = [1, i64::from(channels), i64::from(rows), i64::from(columns)];
            let made = Tensor::f_from_slice(&values).and_then(|flat| flat.f_reshape(size));
            Ok((id, made.map_err(misfit)?))
        });
        Ok(Self::new(given.collect::<Result<Vec<_>, _>>()?, point.changeable()))
    }

    pub(crate) fn new(
        given: impl IntoIterator<Item = (TensorId, Tensor)>,
        changeable: &'static [TensorId],
    ) -> Self {
        let mut held: Vec<Option<Tensor>> = Vec::new();
        held.resize_with(MADE_FROM, || None);
        for (TensorId(number), tensor) in given {
            held[number as usize] = Some(tensor);
        }
        Self { held, changeable }
    }

    /// The tensor as the hook left it; `None` where it was not there.
    pub(crate) fn take(&mut self, TensorId(number): TensorId) -> Option<Tensor> {
        self.held.get_mut(number as usize)?.take()
    }

    fn get(&self, TensorId(number): TensorId) -> Result<&Tensor, TensorError> {
        let found = self.held.get(number as usize).and_then(Option::as_ref);
        found.ok_or_else(|| TensorError::Invalid("there is no such tensor here".into()))
    }

    fn keep(&mut self, tensor: Tensor) -> Result<TensorAnswer, TensorError> {
        if self.held.iter().flatten().count() >= TENSORS_MAX {
            return Err(TensorError::Limit(format!("a hook may hold {TENSORS_MAX} tensors; drop some")));
        }
        // In a forgotten one's place where there is one, so that a hook takes no more room than for what it holds at a time.
        let free = (MADE_FROM..self.held.len()).find(|&place| self.held[place].is_none());
        let place = free.unwrap_or(self.held.len());
        match free {
            Some(place) => self.held[place] = Some(tensor),
            None => self.held.push(Some(tensor)),
        }
        Ok(TensorAnswer::Tensor(TensorId(place as u32)))
    }

    /// Puts `tensor` in the place of `id`, whose size it must have.
    fn replace(&mut self, id: TensorId, tensor: Tensor) -> Result<TensorAnswer, TensorError> {
        let size = self.get(id)?.size();
        if tensor.size() != size {
            return Err(TensorError::Invalid(format!(
                "what comes of it has the size {:?}, and the tensor {size:?}",
                tensor.size()
            )));
        }
        self.held[id.0 as usize] = Some(tensor);
        Ok(TensorAnswer::Done)
    }

    fn shape(&self, id: TensorId) -> Result<[u32; 3], TensorError> {
        let size = self.get(id)?.size();
        let side = |at: usize| size.get(at).map_or(1, |side| *side as u32);
        Ok([side(1), side(2), side(3)])
    }

    /// A part as libtorch counts it, within the tensor.
    fn part(&self, id: TensorId, axis: Axis, part: Part) -> Result<(i64, i64, i64), TensorError> {
        let dimension = match axis {
            Axis::Channels => 1,
            Axis::Rows => 2,
            Axis::Columns => 3,
        };
        let side = self.shape(id)?[dimension - 1];
        let Part { first, count } = part;
        let is_inside = count > 0 && first.checked_add(count).is_some_and(|end| end <= side);
        if !is_inside {
            return Err(TensorError::Invalid(format!(
                "{count} of the {axis:?} from {first} on are not there; the tensor has {side}"
            )));
        }
        Ok((dimension as i64, i64::from(first), i64::from(count)))
    }
}

impl Tensors for StepTensors {
    fn carry_out(&mut self, op: TensorOp) -> Result<TensorAnswer, TensorError> {
        let _guard = tch::no_grad_guard();
        match op {
            TensorOp::Shape(id) => Ok(TensorAnswer::Shape(self.shape(id)?)),
            TensorOp::Duplicate(id) => self.keep(self.get(id)?.shallow_clone()),
            TensorOp::Apply(id, unary) => {
                let made = apply(self.get(id)?, unary).map_err(failed)?;
                self.replace(id, made)
            }
            TensorOp::Combine(id, binary, other) => {
                let made = combine(self.get(id)?, binary, self.get(other)?).map_err(misfit)?;
                self.replace(id, made)
            }
            TensorOp::CombineNumber(id, binary, number) => {
                let tensor = self.get(id)?;
                let number = tensor.f_full_like(f64::from(number)).map_err(failed)?;
                let made = combine(tensor, binary, &number).map_err(failed)?;
                self.replace(id, made)
            }
            TensorOp::Reduce(id, reduction, over) => {
                let made = reduce(self.get(id)?, reduction, over).map_err(misfit)?;
                self.keep(made)
            }
            TensorOp::Slice(id, axis, part) => {
                let (dimension, first, count) = self.part(id, axis, part)?;
                let made = self.get(id)?.f_narrow(dimension, first, count).map_err(failed)?;
                self.keep(made)
            }
            TensorOp::Paste(id, axis, part, other) => {
                let (dimension, first, count) = self.part(id, axis, part)?;
                let other = self.get(other)?;
                let made = self.get(id)?.f_slice_scatter(other, dimension, first, first + count, 1);
                self.replace(id, made.map_err(misfit)?)
            }
            TensorOp::Read(id) => {
                let flat = self.get(id)?.f_contiguous().and_then(|tensor| tensor.f_view([-1]));
                let values = flat.and_then(|flat| Vec::<f32>::try_from(&flat)).map_err(failed)?;
                Ok(TensorAnswer::Values(values))
            }
            TensorOp::Write(id, values) => {
                let tensor = self.get(id)?;
                if values.len() != tensor.numel() {
                    return Err(TensorError::Invalid(format!(
                        "{} values for a tensor of {}",
                        values.len(),
                        tensor.numel()
                    )));
                }
                let made = Tensor::f_from_slice(&values)
                    .and_then(|flat| flat.f_reshape(tensor.size()))
                    .and_then(|made| send(&made, tensor.device()))
                    .map_err(failed)?;
                self.replace(id, made)
            }
            TensorOp::Forget(id) => {
                // What the host gave stays: its changes are what the hook is for.
                if id > TensorId::GUIDED && self.get(id).is_ok() {
                    self.held[id.0 as usize] = None;
                }
                Ok(TensorAnswer::Done)
            }
        }
    }

    fn are_finite(&mut self) -> Result<bool, TensorError> {
        let is_finite = |tensor: &Tensor| bool::try_from(tensor.f_isfinite()?.f_all()?);
        for id in self.changeable {
            if !is_finite(self.get(*id)?).map_err(failed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn failed(error: TchError) -> TensorError {
    TensorError::Device(first_line(&error))
}

/// Where the sizes of what a hook named are the likely reason.
fn misfit(error: TchError) -> TensorError {
    TensorError::Invalid(format!("the tensors do not fit together: {}", first_line(&error)))
}

/// libtorch adds where in its own code it was.
fn first_line(error: &TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn apply(tensor: &Tensor, unary: Unary) -> Result<Tensor, TchError> {
    match unary {
        Unary::Absolute => tensor.f_abs(),
        Unary::SquareRoot => tensor.f_sqrt(),
        Unary::Exponential => tensor.f_exp(),
        Unary::Logarithm => tensor.f_log(),
        Unary::Tanh => tensor.f_tanh(),
        Unary::Sign => tensor.f_sign(),
        Unary::Sine => tensor.f_sin(),
        Unary::Cosine => tensor.f_cos(),
        Unary::ArcCosine => tensor.f_acos(),
        Unary::Floor => tensor.f_floor(),
    }
}

fn combine(tensor: &Tensor, binary: Binary, other: &Tensor) -> Result<Tensor, TchError> {
    match binary {
        Binary::Add => tensor.f_add(other),
        Binary::Subtract => tensor.f_sub(other),
        Binary::Multiply => tensor.f_mul(other),
        Binary::Divide => tensor.f_div(other),
        Binary::Minimum => tensor.f_minimum(other),
        Binary::Maximum => tensor.f_maximum(other),
        Binary::Power => tensor.f_pow(other),
    }
}

fn reduce(tensor: &Tensor, reduction: Reduction, over: Over) -> Result<Tensor, TchError> {
    let dimensions: &[i64] = match over {
        Over::Everything => &[0, 1, 2, 3],
        Over::Places => &[2, 3],
        Over::Channels => &[1],
    };
    let kind = Kind::Float;
    match reduction {
        Reduction::Sum => tensor.f_sum_dim_intlist(dimensions, true, kind),
        Reduction::Mean => tensor.f_mean_dim(dimensions, true, kind),
        Reduction::Deviation => tensor.f_std_dim(dimensions, true, true),
        Reduction::Minimum => tensor.f_amin(dimensions, true),
        Reduction::Maximum => tensor.f_amax(dimensions, true),
        Reduction::Norm => tensor.f_square()?.f_sum_dim_intlist(dimensions, true, kind)?.f_sqrt(),
        Reduction::Quantile(share) => quantile(tensor, f64::from(share), dimensions),
    }
}

/// libtorch takes quantiles along one dimension; those that go are brought behind the others and made one.
fn quantile(tensor: &Tensor, share: f64, dimensions: &[i64]) -> Result<Tensor, TchError> {
    let mut size = tensor.size();
    for &dimension in dimensions {
        if let Some(side) = size.get_mut(dimension as usize) {
            *side = 1;
        }
    }
    let stays = |dimension: &i64| !dimensions.contains(dimension);
    let order: Vec<i64> = (0..DIMENSIONS as i64).filter(stays).chain(dimensions.iter().copied()).collect();
    let first_gone = (DIMENSIONS - dimensions.len()) as i64;
    let rows = tensor.f_permute(order)?.f_flatten(first_gone, -1)?;
    rows.f_quantile_scalar(share, -1, false, "linear")?.f_reshape(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENT: TensorId = TensorId::LATENT;

    /// Two channels of two rows and three columns, counted from 0.
    fn counted() -> StepTensors {
        let tensor = Tensor::arange(12, (Kind::Float, tch::Device::Cpu)).reshape([1, 2, 2, 3]);
        StepTensors::new([(LATENT, tensor)], &[LATENT])
    }

    fn read(tensors: &mut StepTensors, id: TensorId) -> Vec<f32> {
        match tensors.carry_out(TensorOp::Read(id)) {
            Ok(TensorAnswer::Values(values)) => values,
            other => panic!("{other:?}"),
        }
    }

    fn make(tensors: &mut StepTensors, op: TensorOp) -> TensorId {
        match tensors.carry_out(op) {
            Ok(TensorAnswer::Tensor(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reductions_are_those_of_the_definitions() {
        for (reduction, over, want) in [
            (Reduction::Sum, Over::Everything, vec![66.0]),
            (Reduction::Mean, Over::Places, vec![2.5, 8.5]),
            (Reduction::Maximum, Over::Channels, vec![6.0, 7.0, 8.0, 9.0, 10.0, 11.0]),
            (Reduction::Minimum, Over::Places, vec![0.0, 6.0]),
            // The variance of 0 to 5 with 5 below is 3.5.
            (Reduction::Deviation, Over::Places, vec![3.5_f32.sqrt(); 2]),
            (Reduction::Norm, Over::Places, vec![55.0_f32.sqrt(), 451.0_f32.sqrt()]),
            (Reduction::Quantile(0.5), Over::Everything, vec![5.5]),
            (Reduction::Quantile(0.9), Over::Places, vec![4.5, 10.5]),
            (Reduction::Quantile(0.25), Over::Channels, vec![1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
        ] {
            let mut tensors = counted();
            let made = make(&mut tensors, TensorOp::Reduce(LATENT, reduction, over));
            let got = read(&mut tensors, made);
            let near = got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-5);
            assert!(near && got.len() == want.len(), "{reduction:?} {over:?}: {got:?}");
        }
    }

    #[test]
    fn functions_of_each_element_are_those_of_mathematics() {
        let values = [-1.0_f32, -0.25, 0.0, 0.5, 1.0];
        type Function = fn(f32) -> f32;
        let functions: [(Unary, Function); 7] = [
            (Unary::Absolute, f32::abs),
            (Unary::Exponential, f32::exp),
            (Unary::Tanh, f32::tanh),
            (Unary::Sine, f32::sin),
            (Unary::Cosine, f32::cos),
            (Unary::ArcCosine, f32::acos),
            (Unary::Floor, f32::floor),
        ];
        for (unary, of_one) in functions {
            let tensor = Tensor::from_slice(&values).reshape([1, 1, 1, 5]);
            let mut tensors = StepTensors::new([(LATENT, tensor)], &[LATENT]);
            tensors.carry_out(TensorOp::Apply(LATENT, unary)).unwrap();
            let got = read(&mut tensors, LATENT);
            let near = got.iter().zip(values).all(|(got, value)| (got - of_one(value)).abs() < 1e-6);
            assert!(near, "{unary:?}: {got:?}");
        }
    }

    #[test]
    fn what_a_reduction_makes_meets_larger_tensors_everywhere() {
        let mut tensors = counted();
        let mean = make(&mut tensors, TensorOp::Reduce(LATENT, Reduction::Mean, Over::Places));
        tensors.carry_out(TensorOp::Combine(LATENT, Binary::Subtract, mean)).unwrap();
        let row = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5];
        assert_eq!(read(&mut tensors, LATENT), [row, row].concat());
        // The other way round the size would change.
        let refused = tensors.carry_out(TensorOp::Combine(mean, Binary::Add, LATENT));
        assert!(matches!(refused, Err(TensorError::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn a_part_is_cut_out_and_put_elsewhere() {
        let mut tensors = counted();
        let column = make(&mut tensors, TensorOp::Slice(LATENT, Axis::Columns, Part { first: 2, count: 1 }));
        assert_eq!(read(&mut tensors, column), [2.0, 5.0, 8.0, 11.0]);
        let first = Part { first: 0, count: 1 };
        tensors.carry_out(TensorOp::Paste(LATENT, Axis::Columns, first, column)).unwrap();
        assert_eq!(read(&mut tensors, LATENT)[..6], [2.0, 1.0, 2.0, 5.0, 4.0, 5.0]);
        let beyond = Part { first: 2, count: u32::MAX };
        assert!(tensors.carry_out(TensorOp::Slice(LATENT, Axis::Rows, beyond)).is_err());
        assert!(tensors.carry_out(TensorOp::Paste(LATENT, Axis::Rows, first, column)).is_err());
    }

    #[test]
    fn a_copy_goes_its_own_way() {
        let mut tensors = counted();
        let copy = make(&mut tensors, TensorOp::Duplicate(LATENT));
        tensors.carry_out(TensorOp::CombineNumber(copy, Binary::Multiply, 2.0)).unwrap();
        assert_eq!((read(&mut tensors, LATENT)[3], read(&mut tensors, copy)[3]), (3.0, 6.0));
        tensors.carry_out(TensorOp::Forget(copy)).unwrap();
        assert!(tensors.carry_out(TensorOp::Read(copy)).is_err());
        tensors.carry_out(TensorOp::Forget(LATENT)).unwrap();
        assert_eq!(read(&mut tensors, LATENT)[3], 3.0);
    }

    #[test]
    fn sees_what_is_no_number_and_refuses_other_sizes() {
        let mut tensors = counted();
        assert_eq!(tensors.are_finite(), Ok(true));
        assert!(tensors.carry_out(TensorOp::Write(LATENT, vec![0.0; 5])).is_err());
        tensors.carry_out(TensorOp::CombineNumber(LATENT, Binary::Divide, 0.0)).unwrap();
        assert_eq!(tensors.are_finite(), Ok(false));
    }

    #[test]
    fn a_hook_is_tried_on_numbers_of_no_drawing() {
        let of = |id: TensorId| Numbers { shape: vec![2, 1, 2], values: vec![id.0 as f32; 4] };
        let mut tensors = StepTensors::of_numbers(Point::Guided, of).unwrap();
        assert_eq!(read(&mut tensors, TensorId::GUIDED), [3.0; 4]);
        let shape = tensors.carry_out(TensorOp::Shape(TensorId::NEGATIVE));
        assert_eq!(shape, Ok(TensorAnswer::Shape([2, 1, 2])));
        let mut latent = StepTensors::of_numbers(Point::Latent, of).unwrap();
        assert!(latent.carry_out(TensorOp::Read(TensorId::GUIDED)).is_err(), "it is not there yet");
        for wrong in [vec![4], vec![1, 2, 3]] {
            let of = |_| Numbers { shape: wrong.clone(), values: vec![0.0; 4] };
            assert!(StepTensors::of_numbers(Point::Latent, of).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_place_is_used_again_and_never_one_of_what_the_host_gives() {
        let mut tensors = counted();
        let kept = make(&mut tensors, TensorOp::Duplicate(LATENT));
        for _ in 0..10 * TENSORS_MAX {
            let mean = make(&mut tensors, TensorOp::Reduce(LATENT, Reduction::Mean, Over::Everything));
            assert!(mean > TensorId::GUIDED && mean != kept, "{mean:?}");
            assert_eq!(read(&mut tensors, mean), [5.5]);
            tensors.carry_out(TensorOp::Forget(mean)).unwrap();
        }
        assert_eq!(tensors.held.len(), MADE_FROM + 2);
        assert_eq!(read(&mut tensors, kept).len(), 12);
    }

    #[test]
    fn holds_so_many_tensors_and_no_more() {
        let mut tensors = counted();
        let made = (0..TENSORS_MAX).map(|_| tensors.carry_out(TensorOp::Duplicate(LATENT)));
        let refused: Vec<_> = made.filter_map(Result::err).collect();
        assert!(matches!(refused.as_slice(), [TensorError::Limit(_)]), "{refused:?}");
    }
}
