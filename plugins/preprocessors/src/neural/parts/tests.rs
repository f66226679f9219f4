//! People laid out by hand, each of two by two places.

use super::*;

/// What a network gives of people in these boxes: `persons` and `parts` say of each, place by place, how much it is the person,
/// and of which part it is.
fn outputs(boxes: &[[f32; 4]], persons: [f32; 4], parts: [usize; 4]) -> Vec<Tensor> {
    let count = boxes.len();
    let tensor = |labels: usize, values: Vec<f32>| Tensor {
        shape: [count, labels, 2, 2].map(|length| length as u32).to_vec(),
        values: values.repeat(count),
    };
    let fine = (0..25).flat_map(|part| parts.map(|known| if known == part { 1.0 } else { 0.0 }));
    vec![
        Tensor { shape: vec![count as u32, 4], values: boxes.concat() },
        tensor(2, [[0.0; 4], persons].concat()),
        tensor(25, fine.collect()),
    ]
}

/// The colour of each place, as 0xrrggbb, row by row.
fn colours(map: &Pixels) -> Vec<Vec<u32>> {
    let colour = |pixel: &[u8; 3]| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]);
    let (pixels, _) = map.data.as_chunks::<3>();
    pixels.chunks(map.width as usize).map(|row| row.iter().map(colour).collect()).collect()
}

const NOBODY: u32 = 0x440154;

#[test]
fn parts_are_laid_over_their_box_and_only_where_the_person_is() {
    // The left half is the person, the fifth part above and the last below.
    let outputs = outputs(&[[2.0, 1.0, 6.9, 5.9]], [1.0, -1.0, 1.0, -1.0], [5, 5, 24, 24]);
    let map = drawn(&outputs, (8, 6), (8, 6), &VIRIDIS).unwrap();
    // Four by four pixels: from -1/4 on every half place; 1, 1/2, -1/2, -1 across.
    for (y, row) in colours(&map).into_iter().enumerate() {
        let part = match y {
            1 | 2 => 0x404688,
            3 | 4 => 0xfde725,
            _ => NOBODY,
        };
        assert_eq!(row, [NOBODY, NOBODY, part, part, NOBODY, NOBODY, NOBODY, NOBODY], "row {y}");
    }
    let map = drawn(&outputs, (8, 6), (8, 6), &PARULA).unwrap();
    assert_eq!(colours(&map)[1], [0, 0, 0x0e7ad8, 0x0e7ad8, 0, 0, 0, 0]);
}

#[test]
fn boxes_are_in_pixels_of_what_was_fed_and_may_hang_over_the_edges() {
    let all = |boxes: &[[f32; 4]]| {
        let map = drawn(&outputs(boxes, [1.0; 4], [1; 4]), (4, 2), (8, 4), &VIRIDIS).unwrap();
        let rows = colours(&map).into_iter();
        rows.map(|row| row.iter().filter(|colour| **colour == 0x471063).count()).collect::<Vec<_>>()
    };
    assert_eq!(all(&[[1.0, 1.0, 3.0, 2.0]]), [0, 0, 4, 4], "twice as large");
    assert_eq!(all(&[[-2.0, -1.0, 1.0, 9.0]]), [2, 2, 2, 2]);
    assert_eq!(all(&[[f32::NAN, 0.0, 4.0, 2.0]]), [0; 4]);
    assert_eq!(all(&[[3.0, 1.0, 1.0, 2.0], [f32::INFINITY; 4], [1.0; 4], [9.0, 9.0, 20.0, 20.0]]), [0; 4]);
    assert_eq!(all(&[]), [0; 4], "nobody");
}

#[test]
fn who_comes_later_is_in_front_and_holes_show_who_is_behind() {
    let mut outputs = outputs(&[[0.0, 0.0, 4.0, 1.0]; 2], [1.0; 4], [1; 4]);
    // The second person is the left half, all of it of part 2.
    outputs[1].values[12..].copy_from_slice(&[1.0, -1.0, 1.0, -1.0]);
    outputs[2].values[100..].fill(0.0);
    outputs[2].values[100 + 2 * 4..][..4].fill(1.0);
    let map = drawn(&outputs, (4, 1), (4, 1), &VIRIDIS).unwrap();
    assert_eq!(colours(&map)[0], [0x481f70, 0x481f70, 0x471063, 0x471063]);
    // Of equal ones the first, which is none of the parts.
    outputs[2].values[100..].fill(0.5);
    let map = drawn(&outputs, (4, 1), (4, 1), &VIRIDIS).unwrap();
    assert_eq!(colours(&map)[0], [0x471063; 4]);
}

#[test]
fn the_first_people_are_drawn_and_however_many_there_are_no_more() {
    let boxes: Vec<[f32; 4]> = (0..70).map(|place| [place as f32, 0.0, place as f32 + 1.0, 1.0]).collect();
    let map = drawn(&outputs(&boxes, [1.0; 4], [1; 4]), (70, 1), (70, 1), &VIRIDIS).unwrap();
    let row = &colours(&map)[0];
    assert!(row[..64].iter().all(|colour| *colour == 0x471063), "{row:?}");
    assert!(row[64..].iter().all(|colour| *colour == NOBODY), "{row:?}");
}

#[test]
fn outputs_that_are_no_people_are_refused() {
    let refused = |outputs: &[Tensor]| drawn(outputs, (4, 4), (4, 4), &VIRIDIS).unwrap_err();
    let good = outputs(&[[0.0, 0.0, 4.0, 4.0]], [1.0; 4], [1; 4]);
    let u = Tensor { shape: vec![7], values: vec![0.0; 7] };
    assert!(drawn(&[good.clone(), vec![u]].concat(), (4, 4), (4, 4), &VIRIDIS).is_ok(), "U is left alone");
    let text = refused(&good[..2]);
    assert!(text.contains("[[1, 4], [1, 2, 2, 2]]") && text.contains("no boxes and segmentations"), "{text}");
    let with = |index: usize, shape: &[u32]| {
        let mut outputs = good.clone();
        let values = vec![0.0; shape.iter().product::<u32>() as usize];
        outputs[index] = Tensor { shape: shape.to_vec(), values };
        refused(&outputs)
    };
    let unfit: [(usize, &[u32]); 8] = [
        (0, &[1, 5]),
        (0, &[2, 4]),
        (1, &[1, 1, 2, 2]),
        (1, &[1, 2, 0, 0]),
        (1, &[1, 26, 2, 2]),
        (2, &[1, 24, 2, 2]),
        (2, &[2, 25, 2, 2]),
        (2, &[25, 2, 2]),
    ];
    for (index, shape) in unfit {
        assert!(with(index, shape).contains("no boxes"), "{shape:?}");
    }
    let mut short = good;
    short[2].values.pop();
    assert!(refused(&short).contains("no boxes"));
}
