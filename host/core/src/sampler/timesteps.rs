//! The timesteps of samplers that step by them and ask no schedule: DDIM, PLMS, UniPC.

use crate::schedule::NoiseSchedule;

/// Rising, with a stride of 1000 / steps rounded down, shifted by one and kept in the table.
pub(super) fn list(table: &NoiseSchedule, steps: u32) -> Vec<usize> {
    let len = table.sigmas().len();
    let stride = (len / steps as usize).max(1);
    (0..len).step_by(stride).map(|t| (t + 1).min(len - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stride_by_whole_timesteps() {
        let table = NoiseSchedule::sd1();
        assert_eq!(list(&table, 4), [1, 251, 501, 751]);
        assert_eq!((list(&table, 20).len(), list(&table, 30).len()), (20, 31));
    }

    #[test]
    fn past_the_table_are_its_last() {
        let all = list(&NoiseSchedule::sd1(), 1000);
        assert_eq!((all.len(), all[998], all[999]), (1000, 999, 999));
    }
}
