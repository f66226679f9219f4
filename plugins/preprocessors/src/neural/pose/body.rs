//! Parts put together as people (Cao 2017, section 2.4): two parts belong together where the field of their limb points from
//! the one to the other all the way; the surest limbs are taken first, and what shares a part is one person.

use gesso_picture::pose::{BODY, Point};

use super::heat::{Peak, Planes};

/// Planes of the network's two outputs: a part each and the background; each limb's direction, across and down.
pub(super) const HEAT_PLANES: usize = BODY + 1;
pub(super) const FIELD_PLANES: usize = 2 * LIMBS.len();

/// Where the parts of a body are.
pub(super) type Parts = [Option<Point>; BODY];

/// The two parts of each limb, and the first of its two planes, in the order in which people are put together.
pub(super) const LIMBS: [([usize; 2], usize); 19] = [
    ([1, 2], 12),
    ([1, 5], 20),
    ([2, 3], 14),
    ([3, 4], 16),
    ([5, 6], 22),
    ([6, 7], 24),
    ([1, 8], 0),
    ([8, 9], 2),
    ([9, 10], 4),
    ([1, 11], 6),
    ([11, 12], 8),
    ([12, 13], 10),
    ([1, 0], 28),
    ([0, 14], 30),
    ([14, 16], 34),
    ([0, 15], 32),
    ([15, 17], 36),
    ([2, 16], 18),
    ([5, 17], 26),
];
/// The limbs from here on are no limbs of a person: they join an ear to a shoulder that each belong to one.
const JOINING: usize = 17;

/// Points along a limb that its field is asked at, and how many of them have to agree.
const SAMPLES: usize = 10;
const AGREEING_MIN: usize = 9;
/// How much of a point's field has to point along the limb.
const AGREEMENT_MIN: f64 = 0.05;
/// Limbs longer than this part of the picture's height are less likely.
const LONG: f64 = 0.5;
/// Whoever has fewer parts, or is less sure for each of them, is nobody.
const PARTS_MIN: usize = 4;
const SURE_MIN: f64 = 0.4;
/// As many as the server draws of one picture.
const PEOPLE_MAX: usize = 64;

/// A person that is being put together: for each part which of its peaks it is.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    parts: [Option<usize>; BODY],
    /// Of parts and limbs together.
    score: f64,
}

/// A limb between two peaks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limb {
    ends: [usize; 2],
    score: f64,
}

/// Everybody within `seen` of what was fed, in its pixels.
pub(super) fn people(heat: &Planes<'_>, fields: &Planes<'_>, seen: (usize, usize)) -> Vec<Parts> {
    let peaks: Vec<Vec<Peak>> = (0..BODY).map(|part| heat.peaks(part, seen)).collect();
    let mut people: Vec<Found> = Vec::new();
    for (index, (parts, field)) in LIMBS.into_iter().enumerate() {
        let ends = parts.map(|part| peaks[part].as_slice());
        for limb in limbs(ends, |from, to| score(fields, field, [from, to], seen.1 as f64)) {
            join(&mut people, &peaks, parts, limb, index < JOINING);
        }
    }
    people.retain(|person| {
        let count = person.parts.iter().flatten().count();
        count >= PARTS_MIN && person.score / count as f64 >= SURE_MIN
    });
    people.truncate(PEOPLE_MAX);
    let at = |person: Found| {
        let mut places: Parts = [None; BODY];
        for (part, place) in places.iter_mut().enumerate() {
            *place = person.parts[part].map(|peak| peaks[part][peak].at);
        }
        places
    };
    people.into_iter().map(at).collect()
}

/// The limbs between two parts, no peak in two of them, the surest first.
fn limbs([from, to]: [&[Peak]; 2], score: impl Fn(Point, Point) -> Option<f64>) -> Vec<Limb> {
    let mut limbs: Vec<Limb> = Vec::new();
    for (first, start) in from.iter().enumerate() {
        for (second, end) in to.iter().enumerate() {
            limbs.extend(score(start.at, end.at).map(|score| Limb { ends: [first, second], score }));
        }
    }
    limbs.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut taken = [vec![false; from.len()], vec![false; to.len()]];
    limbs.retain(|limb| {
        let [first, second] = limb.ends;
        let is_free = !taken[0][first] && !taken[1][second];
        if is_free {
            (taken[0][first], taken[1][second]) = (true, true);
        }
        is_free
    });
    limbs
}

/// How well a field agrees with a limb, where it does.
fn score(fields: &Planes<'_>, field: usize, [from, to]: [Point; 2], height: f64) -> Option<f64> {
    let [across, down] = [to[0] - from[0], to[1] - from[1]];
    let length = across.hypot(down);
    let mut sum = 0.0;
    let mut agreeing = 0;
    for sample in 0..SAMPLES {
        let share = sample as f64 / (SAMPLES - 1) as f64;
        let at = [from[0] + across * share, from[1] + down * share];
        // A limb without length has no direction: no number, which agrees with nothing.
        let along = (fields.at(field, at) * across + fields.at(field + 1, at) * down) / length;
        sum += along;
        agreeing += usize::from(along > AGREEMENT_MIN);
    }
    let score = sum / SAMPLES as f64 + (LONG * height / length - 1.0).min(0.0);
    (agreeing >= AGREEING_MIN && score > 0.0).then_some(score)
}

/// Gives a limb to whoever has one of its ends. Where nobody does, it begins a person if it may; where two do who have no part
/// in common, they are one, and otherwise the limb is dropped.
fn join(people: &mut Vec<Found>, peaks: &[Vec<Peak>], parts: [usize; 2], limb: Limb, begins: bool) {
    let [from, to] = parts;
    let has_end =
        |person: &Found| person.parts[from] == Some(limb.ends[0]) || person.parts[to] == Some(limb.ends[1]);
    let mut owners = (0..people.len()).filter(|owner| has_end(&people[*owner]));
    // A peak belongs to one person, so that there are no more than two.
    match (owners.next(), owners.next()) {
        (None, _) if begins => {
            let mut person = Found { parts: [None; BODY], score: 0.0 };
            person.take(peaks, parts, limb);
            people.push(person);
        }
        (None, _) => {}
        (Some(owner), None) => people[owner].take(peaks, parts, limb),
        (Some(first), Some(second)) => {
            let mut pairs = people[first].parts.iter().zip(&people[second].parts);
            if pairs.all(|(one, other)| one.is_none() || other.is_none()) {
                let other = people.remove(second);
                let person = &mut people[first];
                person.score += other.score + limb.score;
                for (part, others) in person.parts.iter_mut().zip(other.parts) {
                    *part = part.or(others);
                }
            }
        }
    }
}

impl Found {
    /// What is not there yet of a limb.
    fn take(&mut self, peaks: &[Vec<Peak>], parts: [usize; 2], limb: Limb) {
        let mut is_new = false;
        // An end that is another peak here already stays alone.
        for (part, peak) in parts.into_iter().zip(limb.ends) {
            if self.parts[part].is_none() {
                self.parts[part] = Some(peak);
                self.score += peaks[part][peak].score;
                is_new = true;
            }
        }
        if is_new {
            self.score += limb.score;
        }
    }
}

#[cfg(test)]
mod tests;
