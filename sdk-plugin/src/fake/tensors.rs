//! `gesso:plugin/tensors` of a made-up host: numbers in memory. `draw` gives other numbers than a real host, which has
//! PyTorch's generator; that all are finite at the end is not checked.

use std::cell::RefCell;
use std::rc::Rc;

use super::HOST;
use crate::Random;
use crate::bindings::request_hook::gesso::plugin::types::Fault;
pub(crate) use crate::bindings::step_hook::gesso::plugin0_2_0::tensors::{
    Axis, Binary, Over, Reduction, Unary,
};

/// A handle; copies of it are handles of the same numbers.
#[derive(Debug, Clone)]
pub(crate) struct Tensor(Rc<RefCell<Numbers>>);

#[derive(Debug, Clone)]
struct Numbers {
    /// Channels, rows and columns.
    shape: [u32; 3],
    values: Vec<f32>,
}

impl Tensor {
    /// # Panics
    /// Where there are more or fewer elements.
    pub(crate) fn of((channels, rows, columns): (u32, u32, u32), values: Vec<f32>) -> Self {
        let shape = [channels, rows, columns];
        assert_eq!(values.len(), count(shape), "so many numbers are no tensor of {shape:?}");
        Self::new(shape, values)
    }

    fn new(shape: [u32; 3], values: Vec<f32>) -> Self {
        Self(Rc::new(RefCell::new(Numbers { shape, values })))
    }

    /// Both may be handles of the same numbers, so that one is looked at before the other is changed.
    fn numbers(&self) -> Numbers {
        self.0.borrow().clone()
    }

    pub(crate) fn shape(&self) -> Result<(u32, u32, u32), Fault> {
        let [channels, rows, columns] = self.0.borrow().shape;
        Ok((channels, rows, columns))
    }

    pub(crate) fn duplicate(&self) -> Result<Self, Fault> {
        let Numbers { shape, values } = self.numbers();
        Ok(Self::new(shape, values))
    }

    pub(crate) fn apply(&self, op: Unary) -> Result<(), Fault> {
        self.0.borrow_mut().values.iter_mut().for_each(|value| *value = of_one(op, *value));
        Ok(())
    }

    pub(crate) fn combine(&self, op: Binary, other: &Self) -> Result<(), Fault> {
        let other = other.numbers();
        let mut own = self.0.borrow_mut();
        let shape = own.shape;
        if shape.iter().zip(other.shape).any(|(own, theirs)| theirs != 1 && theirs != *own) {
            let problem = format!("a tensor of {:?} does not meet one of {shape:?}", other.shape);
            return Err(Fault::InvalidInput(problem));
        }
        for (value, place) in own.values.iter_mut().zip(places(shape)) {
            *value = of_two(op, *value, other.values[index(other.shape, place)]);
        }
        Ok(())
    }

    pub(crate) fn combine_number(&self, op: Binary, number: f32) -> Result<(), Fault> {
        self.combine(op, &Self::new([1; 3], vec![number]))
    }

    pub(crate) fn reduce(&self, op: Reduction, over: Over) -> Result<Self, Fault> {
        if let Reduction::Quantile(share) = op
            && !(0.0..=1.0).contains(&share)
        {
            return Err(Fault::InvalidInput(format!("a quantile's share is 0 to 1, not {share}")));
        }
        let Numbers { shape: [channels, rows, columns], values } = self.numbers();
        let shape = match over {
            Over::Everything => [1; 3],
            Over::Places => [channels, 1, 1],
            Over::Channels => [1, rows, columns],
        };
        let mut gone = vec![Vec::new(); count(shape)];
        for (place, value) in places([channels, rows, columns]).zip(values) {
            gone[index(shape, place)].push(f64::from(value));
        }
        Ok(Self::new(shape, gone.into_iter().map(|values| of_many(op, values) as f32).collect()))
    }

    pub(crate) fn slice(&self, along: Axis, first: u32, count: u32) -> Result<Self, Fault> {
        let Numbers { mut shape, values } = self.numbers();
        let axis = number(along);
        let part = part(shape, along, first, count)?;
        let inside = places(shape).zip(values).filter(|(place, _)| part.contains(&place[axis]));
        let values = inside.map(|(_, value)| value).collect();
        shape[axis] = count;
        Ok(Self::new(shape, values))
    }

    pub(crate) fn paste(&self, along: Axis, first: u32, other: &Self) -> Result<(), Fault> {
        let other = other.numbers();
        let mut own = self.0.borrow_mut();
        let axis = number(along);
        part(own.shape, along, first, other.shape[axis])?;
        let fitting = {
            let mut shape = own.shape;
            shape[axis] = other.shape[axis];
            shape
        };
        if other.shape != fitting {
            let problem = format!("a tensor of {:?} does not go into one of {:?}", other.shape, own.shape);
            return Err(Fault::InvalidInput(problem));
        }
        let shape = own.shape;
        for (mut place, value) in places(other.shape).zip(other.values) {
            place[axis] += first;
            own.values[index(shape, place)] = value;
        }
        Ok(())
    }

    pub(crate) fn draw(&self, seed: u64) -> Result<(), Fault> {
        let mut random = Random::new(seed, 0);
        // Box and Muller's way from even numbers to normal ones.
        let mut normal = || {
            let length = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
            length * (std::f64::consts::TAU * random.unit()).cos()
        };
        self.0.borrow_mut().values.fill_with(|| normal() as f32);
        Ok(())
    }

    pub(crate) fn read(&self) -> Result<Vec<f32>, Fault> {
        let is_refused =
            HOST.with_borrow(|host| host.as_ref().is_some_and(|host| !host.borrow().reads_tensors));
        if is_refused {
            return Err(Fault::NotPermitted("numbers stay on the device (the grant `read_tensors`)".into()));
        }
        Ok(self.numbers().values)
    }

    pub(crate) fn write(&self, values: &[f32]) -> Result<(), Fault> {
        let mut own = self.0.borrow_mut();
        if values.len() != own.values.len() {
            let (there, given) = (own.values.len(), values.len());
            return Err(Fault::InvalidInput(format!("{given} values for a tensor of {there}")));
        }
        own.values.copy_from_slice(values);
        Ok(())
    }
}

fn count(shape: [u32; 3]) -> usize {
    shape.iter().map(|side| *side as usize).product()
}

fn number(axis: Axis) -> usize {
    match axis {
        Axis::Channels => 0,
        Axis::Rows => 1,
        Axis::Columns => 2,
    }
}

/// All places, row by row.
fn places([channels, rows, columns]: [u32; 3]) -> impl Iterator<Item = [u32; 3]> {
    (0..channels).flat_map(move |channel| {
        (0..rows).flat_map(move |row| (0..columns).map(move |column| [channel, row, column]))
    })
}

/// Where a tensor of this shape is met at a place of a larger one, or of its own.
fn index(shape: [u32; 3], place: [u32; 3]) -> usize {
    let at = |axis: usize| place[axis].min(shape[axis] - 1) as usize;
    (at(0) * shape[1] as usize + at(1)) * shape[2] as usize + at(2)
}

fn part(shape: [u32; 3], along: Axis, first: u32, count: u32) -> Result<std::ops::Range<u32>, Fault> {
    let axis = number(along);
    let (side, name) = (shape[axis], ["channels", "rows", "columns"][axis]);
    match first.checked_add(count) {
        Some(end) if count > 0 && end <= side => Ok(first..end),
        _ => Err(Fault::InvalidInput(format!(
            "{count} of the {name} from {first} on are not there; the tensor has {side}"
        ))),
    }
}

fn of_one(op: Unary, value: f32) -> f32 {
    match op {
        Unary::Absolute => value.abs(),
        Unary::SquareRoot => value.sqrt(),
        Unary::Exponential => value.exp(),
        Unary::Logarithm => value.ln(),
        Unary::Tanh => value.tanh(),
        // `signum` of 0 is 1.
        Unary::Sign if value == 0.0 => 0.0,
        Unary::Sign => value.signum(),
        Unary::Sine => value.sin(),
        Unary::Cosine => value.cos(),
        Unary::ArcCosine => value.acos(),
        Unary::Floor => value.floor(),
    }
}

fn of_two(op: Binary, one: f32, two: f32) -> f32 {
    match op {
        Binary::Add => one + two,
        Binary::Subtract => one - two,
        Binary::Multiply => one * two,
        Binary::Divide => one / two,
        Binary::Minimum => one.min(two),
        Binary::Maximum => one.max(two),
        Binary::Power => one.powf(two),
    }
}

fn of_many(op: Reduction, mut values: Vec<f64>) -> f64 {
    let count = values.len() as f64;
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    match op {
        Reduction::Sum => sum(&values),
        Reduction::Mean => sum(&values) / count,
        Reduction::Deviation => {
            let mean = sum(&values) / count;
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
        }
        Reduction::Minimum => values.into_iter().fold(f64::INFINITY, f64::min),
        Reduction::Maximum => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Norm => values.iter().map(|value| value.powi(2)).sum::<f64>().sqrt(),
        Reduction::Quantile(share) => {
            values.sort_by(f64::total_cmp);
            let place = f64::from(share) * (count - 1.0);
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + place.fract() * (above - below)
        }
    }
}
