//! Numbers as half precision (IEEE 754 binary16) keeps them, for tables that were computed in it. Called by `table.rs`; knows
//! no tables.

/// The exponent of the least normal number, whose spacing those below it have.
const LEAST_EXPONENT: i32 = -14;
/// Of a number behind its first bit.
const FRACTION_BITS: i32 = 10;
const LARGEST: f64 = 65504.0;

/// The nearest number of half precision; of two that are equally near the one with an even last bit. Infinite from 65520 on.
pub(super) fn rounded(value: f64) -> f64 {
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let spacing = 2.0_f64.powi(exponent.max(LEAST_EXPONENT) - FRACTION_BITS);
    // Scaling by a power of two is exact, so that nothing is rounded but once.
    let rounded = (value / spacing).round_ties_even() * spacing;
    if rounded.abs() > LARGEST { f64::INFINITY.copysign(value) } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of the first number above all finite ones.
    const ABOVE_ALL: u16 = 0x7c00;

    /// What the bits of a number of at least 0 mean; infinity is 65536, which would be the next.
    fn decoded(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10), f64::from(bits & 0x3ff));
        if exponent == 0 {
            fraction * 2.0_f64.powi(-24)
        } else {
            (1024.0 + fraction) * 2.0_f64.powi(exponent - 25)
        }
    }

    fn kept(bits: u16) -> f64 {
        if bits == ABOVE_ALL { f64::INFINITY } else { decoded(bits) }
    }

    #[test]
    fn every_number_stays_and_those_between_two_go_to_the_nearer_or_else_the_even_one() {
        for bits in 0..ABOVE_ALL {
            let middle = f64::midpoint(decoded(bits), decoded(bits + 1));
            let even = if bits % 2 == 0 { bits } else { bits + 1 };
            for (value, want) in [
                (decoded(bits), bits),
                (middle.next_down(), bits),
                (middle, even),
                (middle.next_up(), bits + 1),
            ] {
                assert_eq!(rounded(value), kept(want), "{value:e}");
                assert_eq!(rounded(-value), -kept(want), "{value:e}");
            }
        }
    }

    #[test]
    fn what_is_no_finite_number_stays_so() {
        assert_eq!(rounded(f64::INFINITY), f64::INFINITY);
        assert_eq!(rounded(f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(rounded(f64::NAN).is_nan());
        assert_eq!(rounded(1e300), f64::INFINITY);
        assert_eq!(rounded(f64::MIN_POSITIVE), 0.0);
    }
}
