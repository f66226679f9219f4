//! Triangles whose edges lie on the middles of pixels, where a step to either side shows.

use std::cmp::Ordering;

use super::*;

/// `away` is how far it is.
fn corner(x: f64, y: f64, away: f64) -> Corner {
    Corner { at: [x, y], nearness: 1.0 / away }
}

fn seen(triangles: &[[Corner; 3]]) -> View {
    let side = 6;
    let mut view = View { side, nearness: vec![0.0; side * side] };
    triangles.iter().for_each(|triangle| view.draw(*triangle));
    view
}

/// `#` from outside, `-` from inside.
fn shown(view: &View) -> Vec<String> {
    let sign = |nearness: &f32| match nearness.total_cmp(&0.0) {
        Ordering::Less => '-',
        Ordering::Equal => '.',
        Ordering::Greater => '#',
    };
    view.nearness.chunks_exact(view.side).map(|row| row.iter().map(sign).collect()).collect()
}

#[test]
fn a_place_on_a_shared_edge_belongs_to_one_triangle() {
    let square = [[0.5, 0.5], [4.5, 0.5], [4.5, 4.5], [0.5, 4.5]].map(|[x, y]| corner(x, y, 1.0));
    let [a, b, c, d] = square;
    let middle = corner(2.5, 2.5, 1.0);
    let halves = [vec![[a, b, c], [a, c, d]], vec![[a, b, d], [b, c, d]]];
    let quarters = vec![[a, b, middle], [b, c, middle], [c, d, middle], [d, a, middle]];
    // The upper and the left edge belong to it, the others to what may come next.
    let wanted = ["####..", "####..", "####..", "####..", "......", "......"];
    for triangles in halves.into_iter().chain([quarters]) {
        for turn in 0..3 {
            for is_swapped in [false, true] {
                let mut counts = [0; 36];
                for mut triangle in triangles.iter().copied() {
                    triangle.rotate_left(turn);
                    if is_swapped {
                        triangle.swap(0, 1);
                    }
                    for (count, nearness) in counts.iter_mut().zip(&seen(&[triangle]).nearness) {
                        *count += usize::from(*nearness != 0.0);
                    }
                }
                let rows = counts
                    .chunks_exact(6)
                    .map(|row| row.iter().map(|count| ['.', '#', '2', '3', '4'][*count]).collect::<String>());
                assert_eq!(rows.collect::<Vec<_>>(), wanted, "{triangles:?} {turn} {is_swapped}");
            }
        }
    }
}

#[test]
fn outside_is_where_corners_go_round_counter_clockwise() {
    let [a, b, c] = [corner(0.0, 0.0, 2.0), corner(0.0, 4.0, 2.0), corner(4.0, 0.0, 2.0)];
    let outside = ["###...", "##....", "#.....", "......", "......", "......"];
    assert_eq!(shown(&seen(&[[a, b, c]])), outside);
    assert_eq!(shown(&seen(&[[a, c, b]])), outside.map(|row| row.replace('#', "-")));
    // All in one line.
    assert_eq!(shown(&seen(&[[a, corner(1.0, 0.0, 2.0), c]])), ["......"; 6]);
    assert_eq!(shown(&seen(&[[a, a, a]])), ["......"; 6]);
}

#[test]
fn the_nearest_is_seen_whichever_was_drawn_first() {
    let far = [corner(0.0, 0.0, 4.0), corner(0.0, 12.0, 4.0), corner(12.0, 0.0, 4.0)];
    let near = [corner(0.0, 0.0, 2.0), corner(0.0, 3.0, 2.0), corner(3.0, 0.0, 2.0)];
    for order in [[far, near], [near, far]] {
        let view = seen(&order);
        assert_eq!([0, 1, 2, 3].map(|column| view.nearness[column]), [0.5, 0.5, 0.25, 0.25]);
    }
    // One that is seen from inside hides what is behind it.
    let [a, b, c] = near;
    for order in [[far, [a, c, b]], [[a, c, b], far]] {
        assert_eq!(shown(&seen(&order))[0], "--####");
    }
}

#[test]
fn between_corners_what_is_twice_as_far_counts_half() {
    // The middle of an edge from 1 to 3 is at the mean of 1 and 1/3.
    let triangle = [corner(0.5, 0.5, 1.0), corner(0.5, 4.5, 1.0), corner(4.5, 0.5, 3.0)];
    let view = seen(&[triangle]);
    for (column, nearness) in [(0, 1.0), (1, 5.0 / 6.0), (2, 2.0 / 3.0), (3, 0.5)] {
        let seen: f32 = view.nearness[column];
        assert!((seen - nearness).abs() < 1e-6, "{column}: {seen}");
    }
}

#[test]
fn what_is_out_of_the_frame_is_cut_off() {
    let all = [corner(-100.0, -100.0, 1.0), corner(-100.0, 900.0, 1.0), corner(900.0, -100.0, 1.0)];
    assert_eq!(shown(&seen(&[all])), ["######"; 6]);
    let corner_of_it = [corner(-2.0, -2.0, 1.0), corner(-2.0, 4.0, 1.0), corner(4.0, -2.0, 1.0)];
    assert_eq!(shown(&seen(&[corner_of_it]))[..3], ["#.....", "......", "......"]);
    for shift in [[-9.0, 0.0], [9.0, 0.0], [0.0, -9.0], [0.0, 9.0]] {
        let outside =
            [[0.0, 0.0], [0.0, 3.0], [3.0, 0.0]].map(|[x, y]| corner(x + shift[0], y + shift[1], 1.0));
        assert_eq!(shown(&seen(&[outside])), ["......"; 6], "{shift:?}");
    }
    // Too far for their products to be numbers.
    let huge = [corner(-1e300, -1e300, 1.0), corner(-1e300, 1e300, 1.0), corner(1e300, -1e300, 1.0)];
    assert_eq!(seen(&[huge]).nearness.len(), 36);
}
