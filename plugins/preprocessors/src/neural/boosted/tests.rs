//! A LeReS that sees slopes, across in small pictures and down in large ones, and a second network that gives one of the two.

use std::cell::RefCell;

use gesso_plugin::serde_json::{Value, json};

use super::*;

/// Both networks, the second giving the plane that `takes` says; what each run is fed is kept, by the network's name.
struct Fake {
    takes: usize,
    about: Option<Value>,
    networks: &'static [&'static str],
    fed: RefCell<Vec<(String, Tensor)>>,
}

const BOTH: &[&str] = &["res101", "latest_net_G"];

impl Fake {
    fn new(takes: usize) -> Self {
        Self { takes, about: None, networks: BOTH, fed: RefCell::default() }
    }
}

impl Look for Fake {
    fn networks(&self) -> Result<Vec<String>, Fault> {
        Ok(self.networks.iter().map(|name| (*name).to_owned()).collect())
    }

    fn about(&self, network: &str) -> Result<Option<Value>, Fault> {
        assert_eq!(network, "res101");
        Ok(self.about.clone())
    }

    fn run(&self, network: &str, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Fault> {
        let [input]: [Tensor; 1] = inputs.try_into().unwrap();
        let side = input.shape[3] as usize;
        let values = if network == "res101" {
            let far = |place: usize| if side == 448 { place % side } else { place / side };
            (0..side * side).map(|place| far(place) as f32).collect()
        } else {
            let planes = input.values.chunks_exact(side * side).skip(self.takes);
            planes.flatten().copied().take(side * side).collect()
        };
        self.fed.borrow_mut().push((network.to_owned(), input));
        Ok(vec![Tensor { shape: vec![1, 1, side as u32, side as u32], values }])
    }
}

/// 64 by 64, of two colours that meet in the middle, or of one.
fn picture(left: [u8; 3], right: [u8; 3]) -> Pixels {
    let data = (0..64).flat_map(|_| (0..64).flat_map(move |x| if x < 32 { left } else { right })).collect();
    Pixels::new(64, 64, PixelFormat::Rgb8, data).unwrap()
}

fn at(near: Option<f64>, background: Option<f64>) -> Settings {
    Settings { resolution: 64, threshold_a: near, threshold_b: background }
}

/// What was run, by the first letter and the side of what went in.
fn runs(fake: &Fake) -> String {
    let fed = fake.fed.borrow();
    let runs = fed.iter().map(|(name, input)| format!("{}{}", &name[..1], input.shape[3]));
    runs.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_picture_without_edges_is_seen_once() {
    let fake = Fake::new(1);
    let made = |near, background| {
        let map = map(&picture([9; 3], [9; 3]), at(near, background), &fake).unwrap();
        [0, 21, 42, 63].map(|x| map.data[3 * x])
    };
    assert_eq!(made(None, None), [255, 170, 85, 0]);
    assert_eq!(runs(&fake), "r448");
    // As those of `depth_leres`.
    assert_eq!(made(Some(50.0), None), [255, 255, 85, 0]);
    assert_eq!(made(None, Some(50.0)), [255, 170, 0, 0]);
    let fed = fake.fed.borrow();
    assert_eq!(fed[0].1.shape, [1, 3, 448, 448]);
    assert!((fed[0].1.values[0] - (9.0 - 0.485) / 0.229).abs() < 1e-3, "levels as they are");
}

#[test]
fn details_of_the_larger_look_come_into_the_whole_and_its_parts() {
    let fake = Fake::new(1);
    let map = map(&picture([0, 0, 0], [255, 255, 255]), at(None, None), &fake).unwrap();
    // The picture may be seen as 576 pixels; four parts are worth a closer look.
    let part = " r448 r896 l1024 l1024";
    assert_eq!(runs(&fake), format!("r448 r576 l1024{}", part.repeat(4)));

    let fed = fake.fed.borrow();
    let plane = |run: usize, plane: usize| &fed[run].1.values[plane << 20..][..1 << 20];
    assert_eq!(fed[2].1.shape, [1, 2, 1024, 1024]);
    // First what was seen small, across, then what was seen large, down.
    let (wide, close) = (plane(2, 0), plane(2, 1));
    assert_eq!([wide[0], wide[1023], wide[1023 << 10]], [-1.0, 1.0, -1.0]);
    assert_eq!([close[0], close[1023], close[1023 << 10]], [-1.0, -1.0, 1.0]);
    // A part goes onto what the whole has there, which is what the second network took: down.
    let (wide, close) = (plane(6, 0), plane(6, 1));
    assert_eq!([wide[0], wide[1023], wide[1023 << 10]], [-1.0, -1.0, 1.0]);
    assert_eq!([close[0], close[1023], close[1023 << 10]], [-1.0, -1.0, 1.0]);

    // What goes down in the whole and in its parts goes down evenly, whatever the parts' own measure is.
    for (row, pixels) in map.data.chunks_exact(64 * 3).enumerate() {
        let wanted = 255.0 - 255.0 * row as f32 / 63.0;
        assert!(pixels.iter().all(|level| (f32::from(*level) - wanted).abs() < 3.0), "{row}: {pixels:?}");
    }
}

#[test]
fn what_is_missing_or_no_depth_is_said_with_a_remedy() {
    let refused = |fake: Fake| {
        let made = map(&picture([0; 3], [255; 3]), at(None, None), &fake);
        let Err(Fault::InvalidInput(text)) = made else { panic!("it is made") };
        (text, runs(&fake))
    };
    for (networks, missing) in
        [(&BOTH[..1], "latest_net_G.torchscript or depth_merge"), (&BOTH[1..], "res101")]
    {
        let (text, runs) = refused(Fake { networks, ..Fake::new(1) });
        assert!(text.contains(&format!("{missing}.torchscript")) && runs.is_empty(), "{text}");
    }
    let about = Some(json!({"imgsz": 448}));
    let (text, runs) = refused(Fake { about, ..Fake::new(1) });
    assert!(text.contains("export it without imgsz") && runs.is_empty(), "{text}");
    // A plane that is not there.
    let (text, _) = refused(Fake::new(2));
    assert!(text.contains("the network latest_net_G gives [1, 1, 1024, 1024]"), "{text}");
}
