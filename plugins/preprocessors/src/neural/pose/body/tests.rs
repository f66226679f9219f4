//! Scenes that a test lays out, and who is found in them.

use super::super::heat::STRIDE;
use super::super::scene::{COLUMNS, ROWS, STANDING, Scene, standing};
use super::*;

/// The middle of a place.
fn middle(at: [usize; 2]) -> Point {
    at.map(|place| (place * STRIDE) as f64 + 3.5)
}

#[track_caller]
fn assert_at(found: &Parts, parts: &[(usize, [usize; 2])]) {
    for (part, point) in found.iter().enumerate() {
        match (point, parts.iter().find(|(known, _)| *known == part)) {
            (None, None) => {}
            (Some(point), Some((_, at))) => {
                let away = [0, 1].map(|axis| (point[axis] - middle(*at)[axis]).abs());
                assert!(away.iter().all(|away| *away < 0.02), "part {part} is at {point:?}, not in {at:?}");
            }
            (found, wanted) => panic!("part {part} is at {found:?}, not in {wanted:?}"),
        }
    }
}

#[test]
fn each_limb_has_the_planes_that_networks_were_trained_with() {
    // From which part to which, pair by pair of planes; parts are counted from 1.
    let trained = [
        (2, 9),
        (9, 10),
        (10, 11),
        (2, 12),
        (12, 13),
        (13, 14),
        (2, 3),
        (3, 4),
        (4, 5),
        (3, 17),
        (2, 6),
        (6, 7),
        (7, 8),
        (6, 18),
        (2, 1),
        (1, 15),
        (1, 16),
        (15, 17),
        (16, 18),
    ];
    let wanted = trained.into_iter().enumerate().map(|(pair, (from, to))| (2 * pair, [from - 1, to - 1]));
    let mut planes: Vec<(usize, [usize; 2])> =
        LIMBS.into_iter().map(|(parts, plane)| (plane, parts)).collect();
    planes.sort_unstable();
    assert_eq!(planes, wanted.collect::<Vec<_>>());
}

#[test]
fn two_people_are_told_apart_and_their_parts_are_where_their_bells_are() {
    let mut scene = Scene::empty();
    let (left, right) = (standing(0, &[]), standing(14, &[]));
    scene.person(&left, 0.9, 1.0);
    scene.person(&right, 0.8, 1.0);
    let mut people = scene.people();
    assert_eq!(people.len(), 2);
    people.sort_by(|a, b| a[1].unwrap()[0].total_cmp(&b[1].unwrap()[0]));
    assert_at(&people[0], &left);
    assert_at(&people[1], &right);
}

#[test]
fn a_peak_between_places_is_found_between_them() {
    let mut scene = Scene::empty();
    scene.person(&standing(0, &[]), 0.9, 1.0);
    // The nose is half a place further right.
    for (row, level) in (0..ROWS).map(|row| (row, (-((row as f32 - 4.0).powi(2)) / 1.53125).exp())) {
        for column in 0..COLUMNS {
            let across = (-((column as f32 - 6.5).powi(2)) / 1.53125).exp();
            scene.heat[row * COLUMNS + column] = level * across;
        }
    }
    let [x, y] = scene.people()[0][0].unwrap();
    assert!((x - 55.5).abs() < 0.1 && (y - 35.5).abs() < 0.1, "{x} {y}");
}

#[test]
fn a_part_without_a_field_to_it_belongs_to_nobody() {
    let mut scene = Scene::empty();
    let whole = standing(0, &[4]);
    scene.person(&whole, 0.9, 1.0);
    scene.part(4, STANDING[4], 0.9);
    // So does one whose field points the other way.
    scene.limb(5, [STANDING[7], STANDING[6]], 1.0);
    let people = scene.people();
    assert_eq!(people.len(), 1);
    assert_at(&people[0], &standing(0, &[4, 7]));
}

#[test]
fn of_two_elbows_the_one_that_the_field_leads_to_is_taken() {
    let mut scene = Scene::empty();
    let person = standing(0, &[3, 4]);
    scene.person(&person, 0.9, 1.0);
    // One below the other: halfway down the field is strong.
    scene.part(3, [4, 9], 0.9);
    scene.part(3, [4, 13], 0.9);
    scene.limb(2, [[4, 7], [4, 13]], 0.5);
    scene.limb(2, [[4, 7], [4, 9]], 1.0);
    let people = scene.people();
    assert_eq!(people.len(), 1);
    assert_at(&people[0], &[person, vec![(3, [4, 9])]].concat());
}

#[test]
fn a_head_that_no_neck_joins_is_joined_by_its_ears() {
    let mut scene = Scene::empty();
    let whole = standing(0, &[]);
    scene.person(&whole, 0.9, 1.0);
    let neck_to_nose = LIMBS[12].1 * COLUMNS * ROWS;
    scene.fields[neck_to_nose..][..2 * COLUMNS * ROWS].fill(0.0);
    let people = scene.people();
    assert_eq!(people.len(), 1);
    assert_at(&people[0], &whole);
}

#[test]
fn whoever_has_few_parts_or_is_unsure_is_nobody() {
    let arm: Vec<(usize, [usize; 2])> = (1..=4).map(|part| (part, STANDING[part])).collect();
    let found = |parts: &[(usize, [usize; 2])], height: f32, strength: f32| {
        let mut scene = Scene::empty();
        scene.person(parts, height, strength);
        scene.people()
    };
    assert_eq!(found(&arm[..3], 0.9, 1.0).len(), 0, "three parts");
    let four = found(&arm, 0.9, 1.0);
    assert_eq!(four.len(), 1);
    assert_at(&four[0], &arm);
    let whole = standing(0, &[]);
    assert_eq!(found(&whole, 0.15, 0.1).len(), 0, "all there, and hardly sure");
    assert_eq!(found(&whole, 0.35, 0.3).len(), 1);
    assert_eq!(found(&whole, 0.05, 1.0).len(), 0, "no peak");
    assert_eq!(found(&[], 0.0, 0.0).len(), 0);
}

#[test]
fn numbers_that_are_none_are_nobody() {
    for level in [f32::NAN, f32::INFINITY, 1.0] {
        let mut scene = Scene::empty();
        scene.heat.fill(level);
        scene.fields.fill(level);
        for parts in scene.people() {
            assert!(parts.iter().flatten().flatten().all(|part| part.is_finite()));
        }
    }
}
