//! Turns a face upright: the similarity (rotation, scale, shift) that brings its five landmarks to where a restorer
//! expects them. Pure numbers.

use super::boxes::Face;

/// Where the landmarks of an FFHQ face of 512 pixels are; facexlib's numbers.
const FFHQ: [[f64; 2]; 5] = [
    [192.98138, 239.94708],
    [318.90277, 240.1936],
    [256.63416, 314.01935],
    [201.26117, 371.41043],
    [313.08905, 371.15118],
];
const FFHQ_SIDE: f64 = 512.0;

/// Pairs of landmarks that are tried as exact, because OpenCV's generator draws these (its seed is fixed, thirteen
/// draws suffice for the confidence asked for); trying all ten gives another answer for one face in fifty.
const PAIRS: [[usize; 2]; 6] = [[0, 4], [0, 3], [1, 2], [0, 1], [1, 4], [1, 3]];

impl Face {
    /// The matrix that brings the face upright into a square of `side` pixels, as restorers want it; `None` when its
    /// landmarks are one point or no numbers.
    pub fn upright(&self, side: u32) -> Option<[[f64; 3]; 2]> {
        let Similarity { a, b, dx, dy } = Similarity::of_face(&self.landmarks, side)?;
        Some([[a, -b, dx], [b, a, dy]])
    }
}

/// `u = a x - b y + dx`, `v = b x + a y + dy`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Similarity {
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) dx: f64,
    pub(crate) dy: f64,
}

impl Similarity {
    /// From the picture to an upright face of `side` pixels; `None` when the landmarks are one point or no numbers.
    ///
    /// Least median of squares (Rousseeuw 1984), then least squares over the landmarks that fit, as
    /// `cv2.estimateAffinePartial2D(..., cv2.LMEDS)` has it: one bad landmark does not turn the face.
    pub(crate) fn of_face(landmarks: &[[f32; 2]; 5], side: u32) -> Option<Self> {
        let scale = f64::from(side) / FFHQ_SIDE;
        let pair = |index: usize| (landmarks[index].map(f64::from), FFHQ[index].map(|part| part * scale));
        let pairs = [pair(0), pair(1), pair(2), pair(3), pair(4)];
        let tried = PAIRS.iter().filter_map(|[first, second]| {
            let errors = Self::fit(&[pairs[*first], pairs[*second]])?.errors(&pairs);
            let mut sorted = errors;
            sorted.sort_by(f64::total_cmp);
            Some((sorted[2], errors))
        });
        // The first of equals, as in OpenCV.
        let (median, errors) = tried.reduce(|best, next| if next.0 < best.0 { next } else { best })?;
        // The deviation that the median stands for, with Rousseeuw's correction for few points, two of them free.
        let deviation = (2.5 * 1.4826 * (1.0 + 5.0 / 3.0) * median.sqrt()).max(0.001);
        let fitting = pairs.iter().zip(errors).filter(|(_, error)| *error <= deviation * deviation);
        Self::fit(&fitting.map(|(pair, _)| *pair).collect::<Vec<_>>())
    }

    /// Least squares over pairs of points (Umeyama 1991, without reflections).
    fn fit(pairs: &[([f64; 2], [f64; 2])]) -> Option<Self> {
        let count = pairs.len() as f64;
        let mean = |part: fn(&([f64; 2], [f64; 2])) -> f64| pairs.iter().map(part).sum::<f64>() / count;
        let (x, y) = (mean(|pair| pair.0[0]), mean(|pair| pair.0[1]));
        let (u, v) = (mean(|pair| pair.1[0]), mean(|pair| pair.1[1]));
        let (mut spread, mut along, mut across) = (0.0, 0.0, 0.0);
        for (from, to) in pairs {
            let (x, y, u, v) = (from[0] - x, from[1] - y, to[0] - u, to[1] - v);
            spread += x * x + y * y;
            along += x * u + y * v;
            across += x * v - y * u;
        }
        let (a, b) = (along / spread, across / spread);
        let found = Self { a, b, dx: u - a * x + b * y, dy: v - b * x - a * y };
        (a * a + b * b).is_normal().then_some(found)
    }

    fn errors(&self, pairs: &[([f64; 2], [f64; 2]); 5]) -> [f64; 5] {
        pairs.map(|(from, to)| {
            let [u, v] = self.apply(from);
            (u - to[0]).powi(2) + (v - to[1]).powi(2)
        })
    }

    pub(crate) fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.a * x - self.b * y + self.dx, self.b * x + self.a * y + self.dy]
    }

    pub(crate) fn inverse(&self) -> Self {
        let Self { a, b, dx, dy } = *self;
        let square = a * a + b * b;
        let (a, b) = (a / square, -b / square);
        Self { a, b, dx: b * dy - a * dx, dy: -b * dx - a * dy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_landmark_does_not_turn_the_face() {
        let mut landmarks = FFHQ.map(|[x, y]| [(x / 4.0 + 30.0) as f32, (y / 4.0 + 10.0) as f32]);
        landmarks[2] = [500.0, -300.0];
        let found = Similarity::of_face(&landmarks, 512).unwrap();
        let [x, y] = found.apply([30.0, 10.0]);
        assert!(x.abs() < 1e-3 && y.abs() < 1e-3, "{x} {y}");
        let [x, y] = found.inverse().apply([512.0, 512.0]);
        assert!((x - 158.0).abs() < 1e-3 && (y - 138.0).abs() < 1e-3, "{x} {y}");
    }

    #[test]
    fn a_face_without_a_size_has_no_turn() {
        for value in [7.0, f32::NAN, f32::INFINITY] {
            assert_eq!(Similarity::of_face(&[[value; 2]; 5], 512), None, "{value}");
        }
    }
}
