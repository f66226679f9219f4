//! The one place that writes into a tensor's own memory, so that numbers go from file to tensor without a copy
//! between them. Called by the readers of stored tensors.

#![expect(unsafe_code, reason = "tch hands out a tensor's memory as a bare pointer")]

use tch::{Device, Kind, TchError, Tensor};

/// A new tensor whose bytes `fill` wrote.
///
/// # Errors
/// What libtorch says when it has no memory, or what `fill` says.
pub(crate) fn filled<E: From<TchError>>(
    shape: &[i64],
    kind: Kind,
    fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<Tensor, E> {
    // Zeros rather than an empty tensor: a slice over memory that nobody wrote would be undefined behaviour. The
    // pass costs a tenth of what reading from the page cache does.
    let tensor = Tensor::f_zeros(shape, (kind, Device::Cpu))?;
    let length = tensor.numel() * kind.elt_size_in_bytes();
    if length > 0 {
        // SAFETY: the tensor was made above, is contiguous on the processor, and holds `length` initialised bytes
        // at `data_ptr`. It is not shared with anyone yet, so the slice is the only way to them; and every
        // pattern of bits is a value of the kinds that files store, but for bool, whose reader makes it 0 or 1.
        let bytes = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), length) };
        fill(bytes)?;
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order() {
        let fill = |bytes: &mut [u8]| -> Result<(), TchError> {
            for (index, value) in [1.0f32, -2.0, 3.5].iter().enumerate() {
                bytes[index * 4..][..4].copy_from_slice(&value.to_le_bytes());
            }
            Ok(())
        };
        let tensor = filled(&[3, 1], Kind::Float, fill).unwrap();
        assert_eq!(tensor.size(), [3, 1]);
        assert_eq!(Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap(), [1.0, -2.0, 3.5]);
    }

    #[test]
    fn a_tensor_without_elements_asks_for_nothing() {
        let fill = |_: &mut [u8]| -> Result<(), TchError> { panic!("there is nothing to fill") };
        assert_eq!(filled(&[0, 4], Kind::Half, fill).unwrap().size(), [0, 4]);
    }
}
