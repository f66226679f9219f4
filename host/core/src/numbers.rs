//! Arrays of numbers as they go into a network and come out of it. Knows no arithmetic.

/// An array in row-major order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Numbers {
    /// Elements along each dimension; none for a single number.
    pub shape: Vec<u32>,
    pub values: Vec<f32>,
}

impl Numbers {
    /// How many numbers a shape holds; `None` when that does not fit a `usize`.
    pub fn count(shape: &[u32]) -> Option<usize> {
        shape.iter().try_fold(1_usize, |count, &side| count.checked_mul(side as usize))
    }

    /// Wraps `values`; `None` when there are not as many as the shape holds.
    pub fn new(shape: Vec<u32>, values: Vec<f32>) -> Option<Self> {
        (Self::count(&shape)? == values.len()).then_some(Self { shape, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_must_hold_as_many_numbers_as_there_are() {
        assert!(Numbers::new(vec![2, 3], vec![0.0; 6]).is_some());
        assert!(Numbers::new(vec![], vec![1.0]).is_some());
        assert!(Numbers::new(vec![2, 0], vec![]).is_some());
        assert!(Numbers::new(vec![2, 3], vec![0.0; 5]).is_none());
        assert_eq!(Numbers::count(&[u32::MAX; 3]), None);
    }
}
