//! Token merging (Bolya & Hoffman 2023, "Token Merging for Fast Stable Diffusion"): before a self-attention the tokens
//! most like one of their neighbourhood's are averaged into it, and behind it each has what came of them all. The widest
//! level alone merges, where attention costs most. Each row of a call is matched by itself. Knows no request.

use tch::{Kind, TchError, Tensor};

use crate::models::layers::Forward;

/// Side of the squares of tokens of which the first of each may take others in.
const SQUARE: i64 = 2;
/// Similarities that are worked out at once; a picture of 1024 x 1024 has 50 million in a row.
const AT_ONCE: i64 = 1 << 25;

/// How a call merges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Merging {
    /// Share of the tokens that go.
    share: f64,
    /// Tokens of the widest level.
    widest: i64,
}

/// Which tokens of an attention's input go together.
pub(crate) struct Merged {
    /// Places of the tokens that others go into, `[count]`, and of the rest.
    stay: Tensor,
    rest: Tensor,
    /// Of the rest those that go and those that do not, `[batch, count]`, as places among the rest.
    gone: Tensor,
    kept: Tensor,
    /// What each goes into, as places among those that stay.
    target: Tensor,
}

impl Merging {
    /// For a call on latents of `rows` x `columns`; nothing where no share is asked for.
    pub(crate) fn new(share: f64, (rows, columns): (i64, i64)) -> Option<Self> {
        (share > 0.0).then_some(Self { share, widest: rows * columns })
    }

    /// How a block's tokens go together, `[batch, rows * columns, channels]` as they are before their normalisation; `None`
    /// where none do.
    pub(crate) fn of(
        &self,
        tokens: &Tensor,
        (rows, columns): (i64, i64),
    ) -> Result<Option<Merged>, TchError> {
        let count = rows * columns;
        let staying = (rows / SQUARE) * (columns / SQUARE);
        let going = ((count as f64 * self.share) as i64).min(count - staying);
        // The next level has a quarter of the tokens, or a little more where a side is odd.
        if 2 * count <= self.widest || staying == 0 || going <= 0 {
            return Ok(None);
        }
        let grid = Tensor::f_zeros([rows, columns], (Kind::Int64, tokens.device()))?;
        let (height, width) = (rows / SQUARE * SQUARE, columns / SQUARE * SQUARE);
        drop(grid.f_slice(0, 0, height, SQUARE)?.f_slice(1, 0, width, SQUARE)?.f_fill_(-1_i64)?);
        let order = grid.f_flatten(0, 1)?.f_argsort_stable(true, 0, false)?;
        let (stay, rest) = (order.f_narrow(0, 0, staying)?, order.f_narrow(0, staying, count - staying)?);
        // Few bits of a likeness would say little of which is greater.
        let wide = tokens.f_to_kind(Kind::Float)?;
        let likeness = wide.f_div(&wide.f_norm_scalaropt_dim(2.0, [-1_i64], true)?)?;
        let (nearest, target) =
            nearest(&likeness.f_index_select(1, &rest)?, &likeness.f_index_select(1, &stay)?)?;
        let order = nearest.f_argsort_stable(true, -1, true)?;
        let gone = order.f_narrow(1, 0, going)?;
        let kept = order.f_narrow(1, going, count - staying - going)?;
        let target = target.f_gather(1, &gone, false)?;
        Ok(Some(Merged { stay, rest, gone, kept, target }))
    }
}

/// The greatest likeness of each of `rest` to any of `stay`, and whose it is: `[batch, rest]` each.
fn nearest(rest: &Tensor, stay: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (batch, count, _) = rest.size3()?;
    let stay = stay.f_transpose(1, 2)?;
    let (_, _, candidates) = stay.size3()?;
    let step = (AT_ONCE / (batch * candidates)).max(1);
    let mut parts = Vec::new();
    let mut from = 0;
    while from < count {
        let part = rest.f_narrow(1, from, step.min(count - from))?;
        parts.push(part.f_matmul(&stay)?.f_max_dim(-1, false)?);
        from += step;
    }
    let joined = |part: fn(&(Tensor, Tensor)) -> &Tensor| {
        Tensor::f_cat(&parts.iter().map(part).collect::<Vec<_>>(), 1)
    };
    Ok((joined(|(likeness, _)| likeness)?, joined(|(_, place)| place)?))
}

impl Merged {
    /// The tokens that are left, `[batch, fewer, channels]`: those that are kept as they are, then those that stay, each the
    /// mean of itself and of what went into it.
    pub(crate) fn together(&self, tokens: &Tensor) -> Forward {
        let rest = tokens.f_index_select(1, &self.rest)?;
        let stay = tokens.f_index_select(1, &self.stay)?;
        let wide = stay.f_to_kind(Kind::Float)?;
        let (_, _, channels) = stay.size3()?;
        let gone = chosen(&rest, &self.gone)?.f_to_kind(Kind::Float)?;
        let sums = wide.f_scatter_add(1, &along(&self.target, channels)?, &gone)?;
        let ones = self.target.f_ones_like()?.f_to_kind(Kind::Float)?;
        let counts = wide.f_select(2, 0)?.f_ones_like()?.f_scatter_add(1, &self.target, &ones)?;
        let stay = sums.f_div(&counts.f_unsqueeze(-1)?)?.f_to_kind(tokens.kind())?;
        Tensor::f_cat(&[chosen(&rest, &self.kept)?, stay], 1)
    }

    /// The way back from [`Merged::together`]: what went into another has what came of that one.
    pub(crate) fn apart(&self, merged: &Tensor) -> Forward {
        let (batch, count, channels) = merged.size3()?;
        let kept = self.kept.size2()?.1;
        let stay = merged.f_narrow(1, kept, count - kept)?;
        let all = Tensor::f_cat(&[&merged.f_narrow(1, 0, kept)?, &stay, &chosen(&stay, &self.target)?], 1)?;
        let staying = self.stay.f_unsqueeze(0)?.f_expand([batch, -1], false)?;
        let places = [self.rest.f_take(&self.kept)?, staying, self.rest.f_take(&self.gone)?];
        let places = Tensor::f_cat(&places, 1)?;
        all.f_zeros_like()?.f_scatter(1, &along(&places, channels)?, &all)
    }
}

/// Tokens at places, `[batch, count]`, of each row's.
fn chosen(tokens: &Tensor, places: &Tensor) -> Forward {
    let (_, _, channels) = tokens.size3()?;
    tokens.f_gather(1, &along(places, channels)?, false)
}

/// Places of tokens as those of all their channels.
fn along(places: &Tensor, channels: i64) -> Forward {
    places.f_unsqueeze(-1)?.f_expand([-1, -1, channels], false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of two by four tokens of two channels. Those that stay are the first and the third.
    fn tokens() -> Tensor {
        #[rustfmt::skip]
        let values = [
            1.0f32, 0.0,   0.9, 0.1,   0.0, 1.0,   0.1, 2.0,
            1.0, 1.0,      3.0, 0.0,  -1.0, 0.2,   0.5, 0.1,
            // The second row's neighbours are the other way round.
            0.0, 1.0,      0.1, 0.9,   1.0, 0.0,   2.0, 0.1,
            1.0, 1.0,      0.0, 3.0,   0.2, -1.0,  0.1, 0.5,
        ];
        Tensor::from_slice(&values).reshape([2, 8, 2])
    }

    fn row(tensor: &Tensor, row: i64) -> Vec<f32> {
        Vec::try_from(tensor.get(row).flatten(0, -1)).unwrap()
    }

    fn merged(share: f64) -> Merged {
        Merging::new(share, (2, 4)).unwrap().of(&tokens(), (2, 4)).unwrap().unwrap()
    }

    #[test]
    fn the_likest_tokens_go_into_their_neighbours_and_come_back_from_them() {
        // Two of eight go: the ones at 5 (exactly like the first) and at 3, by 0.9988 before 0.9939.
        let merged = merged(0.25);
        let together = merged.together(&tokens()).unwrap();
        assert_eq!(together.size(), [2, 6, 2]);
        let first = row(&together, 0);
        // Those that stay come last: means of (1, 0) and (3, 0), of (0, 1) and (0.1, 2).
        for (got, want) in first[8..].iter().zip([2.0, 0.0, 0.05, 1.5]) {
            assert!((got - want).abs() < 1e-6, "{first:?}");
        }
        let apart = merged.apart(&together).unwrap();
        let apart = row(&apart, 0);
        #[rustfmt::skip]
        let want = [
            2.0, 0.0,  0.9, 0.1,  0.05, 1.5,  0.05, 1.5,
            1.0, 1.0,  2.0, 0.0, -1.0, 0.2,   0.5, 0.1,
        ];
        for (got, want) in apart.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{apart:?}");
        }
    }

    #[test]
    fn rows_are_matched_by_themselves() {
        let both = merged(0.5).together(&tokens()).unwrap();
        for place in [0, 1] {
            let alone = tokens().narrow(0, place, 1);
            let merging = Merging::new(0.5, (2, 4)).unwrap();
            let merged = merging.of(&alone, (2, 4)).unwrap().unwrap();
            assert_eq!(row(&merged.together(&alone).unwrap(), 0), row(&both, place));
        }
    }

    #[test]
    fn no_more_go_than_there_are_beside_those_that_stay() {
        let together = merged(0.9).together(&tokens()).unwrap();
        assert_eq!(together.size(), [2, 2, 2]);
        assert_eq!(merged(0.9).apart(&together).unwrap().size(), [2, 8, 2]);
    }

    #[test]
    fn sides_that_do_not_halve_keep_what_is_over() {
        let tokens = Tensor::arange(2 * 15 * 3, (Kind::Float, tch::Device::Cpu)).sin().reshape([2, 15, 3]);
        let merged = Merging::new(0.4, (3, 5)).unwrap().of(&tokens, (3, 5)).unwrap().unwrap();
        let stay: Vec<i64> = Vec::try_from(&merged.stay).unwrap();
        assert_eq!(stay, [0, 2]);
        let together = merged.together(&tokens).unwrap();
        assert_eq!(together.size(), [2, 9, 3]);
        assert_eq!(merged.apart(&together).unwrap().size(), [2, 15, 3]);
    }

    #[test]
    fn only_the_widest_level_merges_and_only_where_something_goes() {
        assert!(Merging::new(0.0, (8, 8)).is_none());
        let tokens = |count| Tensor::ones([1, count, 4], (Kind::Float, tch::Device::Cpu));
        let merging = Merging::new(0.5, (9, 7)).unwrap();
        assert!(merging.of(&tokens(63), (9, 7)).unwrap().is_some());
        assert!(merging.of(&tokens(20), (5, 4)).unwrap().is_none());
        assert!(Merging::new(0.01, (8, 8)).unwrap().of(&tokens(64), (8, 8)).unwrap().is_none());
        assert!(Merging::new(0.5, (1, 8)).unwrap().of(&tokens(8), (1, 8)).unwrap().is_none());
    }
}
