//! Which rows share the next UNet call: a pure function of what waits, so that fairness can be read and tested.
//!
//! Effective priority is the job's priority plus one point for each `ageing` it went unserved, plus a small bonus
//! when its model is the one in use, so that two models alternate in turns of a second or so rather than per step.
//! The best row leads; rows of equal key join it in order of effective priority until the batch is full. Because
//! waiting counts from the last service, equals take turns.

use std::cmp::Reverse;
use std::time::Duration;

/// A row that could run now. `key` names what must agree within a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<K> {
    pub key: K,
    pub priority: i32,
    /// Time since this row was last served, or since its job arrived.
    pub waited: Duration,
    /// Order of arrival; smaller came first.
    pub arrival: u64,
    /// Whether its model is the one the last batch used.
    pub resident: bool,
}

/// The policy's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Unserved time that is worth one point of priority.
    pub ageing: Duration,
    /// Rows in one UNet call at most; each is a pair of a positive and a negative prompt.
    pub max_rows: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { ageing: Duration::from_secs(5), max_rows: 8 }
    }
}

/// Share of an ageing interval that staying on the model in use is worth.
const RESIDENT_BONUS_PER_MILLE: u128 = 300;

/// Indices of the rows to run next, leader first; empty only when `candidates` is.
pub fn pick<K: PartialEq>(candidates: &[Candidate<K>], rules: Rules) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&index| {
        let candidate = &candidates[index];
        (Reverse(effective_priority(candidate, rules.ageing)), candidate.arrival, index)
    });
    let Some(&leader) = order.first() else { return Vec::new() };
    let key = &candidates[leader].key;
    order.into_iter().filter(|&index| candidates[index].key == *key).take(rules.max_rows.max(1)).collect()
}

/// In thousandths of a point of priority.
fn effective_priority<K>(candidate: &Candidate<K>, ageing: Duration) -> i128 {
    let aged = candidate.waited.as_nanos() * 1000 / ageing.as_nanos().max(1);
    let bonus = if candidate.resident { RESIDENT_BONUS_PER_MILLE } else { 0 };
    i128::from(candidate.priority) * 1000 + (aged + bonus) as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(key: char, priority: i32, waited_ms: u64, arrival: u64) -> Candidate<char> {
        Candidate { key, priority, waited: Duration::from_millis(waited_ms), arrival, resident: false }
    }

    fn rules(max_rows: usize) -> Rules {
        Rules { ageing: Duration::from_secs(1), max_rows }
    }

    #[test]
    fn batches_rows_of_one_key_and_leaves_the_others() {
        let rows = [row('a', 0, 0, 0), row('b', 0, 0, 1), row('a', 0, 0, 2)];
        assert_eq!(pick(&rows, rules(8)), [0, 2]);
    }

    #[test]
    fn a_higher_priority_leads_whatever_came_first() {
        let rows = [row('a', 0, 0, 0), row('b', 1, 0, 1)];
        assert_eq!(pick(&rows, rules(8)), [1]);
    }

    #[test]
    fn waiting_lifts_a_low_priority_over_a_high_one() {
        let rows = [row('a', 0, 1100, 0), row('b', 1, 0, 1)];
        assert_eq!(pick(&rows, rules(8)), [0]);
    }

    #[test]
    fn equals_take_turns_when_the_batch_is_smaller_than_the_crowd() {
        let mut waited = [0_u64; 3];
        let mut served = Vec::new();
        for _ in 0..6 {
            let rows: Vec<_> =
                waited.iter().enumerate().map(|(index, &ms)| row('a', 0, ms, index as u64)).collect();
            let next = pick(&rows, rules(1))[0];
            for ms in &mut waited {
                *ms += 10;
            }
            waited[next] = 0;
            served.push(next);
        }
        assert_eq!(served, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn stays_on_the_model_in_use_for_a_while_but_not_for_ever() {
        let mut rows = [row('a', 0, 0, 1), row('b', 0, 200, 0)];
        rows[0].resident = true;
        assert_eq!(pick(&rows, rules(8)), [0]);
        rows[1].waited = Duration::from_millis(400);
        assert_eq!(pick(&rows, rules(8)), [1]);
    }

    proptest! {
        #[test]
        fn picks_a_non_empty_batch_of_one_key_without_repeats(
            rows in proptest::collection::vec((0..3_u8, -5..5_i32, 0..10_000_u64), 1..40),
            max_rows in 1..10_usize,
        ) {
            let rows: Vec<_> = rows
                .into_iter()
                .enumerate()
                .map(|(index, (key, priority, ms))| Candidate {
                    key, priority, waited: Duration::from_millis(ms), arrival: index as u64, resident: key == 0,
                })
                .collect();
            let picked = pick(&rows, rules(max_rows));
            prop_assert!(!picked.is_empty() && picked.len() <= max_rows);
            prop_assert!(picked.iter().all(|&index| rows[index].key == rows[picked[0]].key));
            let mut unique = picked.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), picked.len());
        }
    }
}
