//! The texts of a call, joined along its rows: made once, and kept for as long as the calls that follow read the same ones.
//! Called by `questions`; knows no guidance, and not what a text says.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use tch::TchError;

use crate::models::unet::context::Context;

/// Bytes that are kept at most: those of 16 rows of four chunks of tokens in half precision. A step is given no memory for
/// more than the call that it is at, and prompts may be many times as long: what does not fit is joined for each call.
const BYTES_MAX: u64 = 256 << 20;

/// What calls that follow one another read. It lies with the picture that leads them, and goes with it.
#[derive(Default)]
pub(crate) struct Joins(RefCell<Kept>);

struct Kept {
    /// What this step has asked for.
    now: Vec<Join>,
    /// What the step before asked for, and this one has not yet.
    before: Vec<Join>,
    /// What both may take together.
    bytes_max: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { now: Vec::new(), before: Vec::new(), bytes_max: BYTES_MAX }
    }
}

impl Kept {
    fn bytes(&self) -> u64 {
        self.now.iter().chain(&self.before).map(|join| join.bytes).sum()
    }
}

/// One text for all rows of a call.
struct Join {
    /// The rows' texts. One that is gone is never taken for another: its place in memory is not given away meanwhile.
    parts: Vec<Weak<Context>>,
    tokens: i64,
    whole: Rc<Context>,
    bytes: u64,
}

impl Joins {
    /// The texts of the rows of a call, in their order, each brought to so many tokens.
    ///
    /// # Errors
    /// What [`Context::join`] says.
    pub(crate) fn of(&self, parts: &[&Rc<Context>], tokens: i64) -> Result<Rc<Context>, TchError> {
        if let [only] = parts
            && only.tokens() >= tokens
        {
            return Ok(Rc::clone(only));
        }
        let mut kept = self.0.borrow_mut();
        if let Some(join) = kept.now.iter().find(|join| join.is_of(parts, tokens)) {
            return Ok(join.whole.clone());
        }
        let known = kept.before.iter().position(|join| join.is_of(parts, tokens));
        let join = match known {
            Some(place) => kept.before.swap_remove(place),
            None => Join::new(parts, tokens)?,
        };
        let whole = join.whole.clone();
        if kept.bytes() + join.bytes <= kept.bytes_max {
            kept.now.push(join);
        }
        Ok(whole)
    }

    /// A step is over: what it has not asked for goes, so that no more is kept than the calls of one step read.
    pub(crate) fn end_step(&self) {
        let mut kept = self.0.borrow_mut();
        kept.before = std::mem::take(&mut kept.now);
    }

    /// Drops all that is kept; whether there was anything.
    pub(crate) fn forget(&self) -> bool {
        let mut kept = self.0.borrow_mut();
        let was_empty = kept.now.is_empty() && kept.before.is_empty();
        kept.now.clear();
        kept.before.clear();
        !was_empty
    }

    /// [`Joins::forget`], and keeps nothing any more, because memory ran out: the next step would run out of it again.
    pub(crate) fn stop(&self) -> bool {
        self.0.borrow_mut().bytes_max = 0;
        self.forget()
    }

    /// All that is kept, as long as it is.
    #[cfg(test)]
    pub(crate) fn wholes(&self) -> Vec<Weak<Context>> {
        let kept = self.0.borrow();
        kept.now.iter().chain(&kept.before).map(|join| Rc::downgrade(&join.whole)).collect()
    }
}

/// Which picture has something kept: the first of the latest step, and no other. A crowd that takes turns would keep as much for
/// each of those that lead.
#[derive(Default)]
pub(crate) struct Leader(Weak<Joins>);

impl Leader {
    /// A step of this picture and of others begins.
    pub(crate) fn lead(&mut self, joins: &Rc<Joins>) {
        if !std::ptr::eq(self.0.as_ptr(), Rc::as_ptr(joins)) {
            self.forget();
        }
        self.0 = Rc::downgrade(joins);
    }

    /// Something else than a step begins. Encoding and decoding are reckoned without what is kept, and the next step makes it
    /// again.
    pub(crate) fn forget(&self) {
        if let Some(joins) = self.0.upgrade() {
            joins.forget();
        }
    }
}

impl Join {
    fn new(parts: &[&Rc<Context>], tokens: i64) -> Result<Self, TchError> {
        let long = parts.iter().map(|part| part.lengthened(tokens)).collect::<Result<Vec<_>, _>>()?;
        let whole = Context::join(&long.iter().collect::<Vec<_>>())?;
        let parts = parts.iter().map(|&part| Rc::downgrade(part)).collect();
        let bytes = whole.bytes();
        Ok(Self { parts, tokens, whole: Rc::new(whole), bytes })
    }

    fn is_of(&self, parts: &[&Rc<Context>], tokens: i64) -> bool {
        let mut pairs = self.parts.iter().zip(parts);
        self.tokens == tokens
            && self.parts.len() == parts.len()
            && pairs.all(|(known, part)| std::ptr::eq(known.as_ptr(), Rc::as_ptr(part)))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::models::unet::context::KeysValues;

    /// A text of one attention, all of whose numbers are `value` but for its last token's, which are its half.
    fn text(value: f64, tokens: i64) -> Rc<Context> {
        let keys = Tensor::full([1, tokens, 2], value, (Kind::Float, Device::Cpu));
        let _last = keys.narrow(1, tokens - 1, 1).fill_(value / 2.0);
        let values = &keys + 100.0;
        Rc::new(Context { layers: vec![KeysValues { keys, values }] })
    }

    fn equal(one: &Context, other: &Context) -> bool {
        let mut pairs = one.layers.iter().zip(&other.layers);
        one.layers.len() == other.layers.len()
            && pairs.all(|(one, other)| one.keys.equal(&other.keys) && one.values.equal(&other.values))
    }

    #[test]
    fn what_stays_the_same_is_joined_once() {
        let (joins, a, b) = (Joins::default(), text(1.0, 4), text(2.0, 4));
        let first = joins.of(&[&a, &b], 4).unwrap();
        assert!(equal(&first, &Context::join(&[&a, &b]).unwrap()));
        for _ in 0..3 {
            // Twice in a step too: one for each control network that reads the same text.
            assert!(Rc::ptr_eq(&joins.of(&[&a, &b], 4).unwrap(), &first));
            assert!(Rc::ptr_eq(&joins.of(&[&a, &b], 4).unwrap(), &first));
            joins.end_step();
        }
    }

    #[test]
    fn other_rows_another_order_and_another_length_are_joined_anew() {
        let (joins, a, b) = (Joins::default(), text(1.0, 4), text(2.0, 4));
        let first = joins.of(&[&a, &b], 4).unwrap();
        for (parts, tokens) in [(vec![&b, &a], 4), (vec![&a, &b, &b], 4), (vec![&a, &b], 6), (vec![&a], 6)] {
            let other = joins.of(&parts, tokens).unwrap();
            let long: Vec<_> = parts.iter().map(|part| part.lengthened(tokens).unwrap()).collect();
            assert!(equal(&other, &Context::join(&long.iter().collect::<Vec<_>>()).unwrap()));
            assert!(!Rc::ptr_eq(&other, &first));
        }
        assert!(Rc::ptr_eq(&joins.of(&[&a, &b], 4).unwrap(), &first), "they are kept side by side");
    }

    #[test]
    fn a_row_alone_reads_its_own_text() {
        let (joins, a) = (Joins::default(), text(1.0, 4));
        assert!(Rc::ptr_eq(&joins.of(&[&a], 4).unwrap(), &a));
        assert!(!joins.forget(), "there is nothing to keep");
    }

    #[test]
    fn what_a_step_does_not_ask_for_goes() {
        let (joins, a, b) = (Joins::default(), text(1.0, 4), text(2.0, 4));
        let first = Rc::downgrade(&joins.of(&[&a, &b], 4).unwrap());
        joins.end_step();
        assert!(first.upgrade().is_some());
        let other = Rc::downgrade(&joins.of(&[&b, &b], 4).unwrap());
        joins.end_step();
        assert!(first.upgrade().is_none() && other.upgrade().is_some());
        assert!(joins.forget() && other.upgrade().is_none());
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let (a, b) = (text(1.0, 4), text(2.0, 4));
        // Keys and values of two rows of four tokens, two numbers in f32 each.
        let bytes_max = 2 * 2 * 4 * 2 * 4;
        let joins = Joins(RefCell::new(Kept { bytes_max, ..Kept::default() }));
        let first = joins.of(&[&a, &b], 4).unwrap();
        let second = Rc::downgrade(&joins.of(&[&b, &a], 4).unwrap());
        assert!(second.upgrade().is_none(), "there is room for one");
        joins.end_step();
        assert!(Rc::ptr_eq(&joins.of(&[&a, &b], 4).unwrap(), &first), "it takes no room twice");
    }

    #[test]
    fn where_memory_is_out_nothing_is_kept_any_more() {
        let (joins, a, b) = (Joins::default(), text(1.0, 4), text(2.0, 4));
        let first = Rc::downgrade(&joins.of(&[&a, &b], 4).unwrap());
        assert!(joins.stop() && first.upgrade().is_none());
        let again = joins.of(&[&a, &b], 4).unwrap();
        assert!(equal(&again, &Context::join(&[&a, &b]).unwrap()));
        assert!(!joins.forget() && !joins.stop());
    }

    #[test]
    fn a_text_that_is_gone_is_never_taken_for_another() {
        let (joins, a) = (Joins::default(), text(1.0, 4));
        let gone = text(2.0, 4);
        let _kept = joins.of(&[&a, &gone], 4).unwrap();
        drop(gone);
        // Whatever is allocated next may get the place of what is gone.
        for value in 3..20 {
            let other = text(f64::from(value), 4);
            let joined = joins.of(&[&a, &other], 4).unwrap();
            assert!(equal(&joined, &Context::join(&[&a, &other]).unwrap()));
        }
    }
}
