//! The grid that the web UI's dialect puts before pictures that are saved: when there is one, what it looks like, where it
//! is saved.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::scripts::{part, run};
use crate::support::{Bench, Server, decode, quick_with};

/// The files of the one folder of a day below `folder`, in order; none where nothing was saved.
fn files_of_today(bench: &Bench, folder: &str) -> Vec<String> {
    let folder = bench.data.path().join("outputs/default").join(folder);
    let names = |folder: &Path| -> Vec<String> {
        let items = std::fs::read_dir(folder).into_iter().flatten();
        let mut names: Vec<_> = items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let days = names(&folder);
    assert!(days.len() <= 1, "{days:?}; midnight?");
    days.iter()
        .flat_map(|day| names(&folder.join(day)).into_iter().map(move |name| format!("{day}/{name}")))
        .collect()
}

/// How many pictures a reply has, and where the first that was drawn stands among them.
#[track_caller]
fn counted(server: &Server, changes: Value) -> (usize, Value) {
    let (pictures, info) = run(server, "txt2img", changes);
    assert_eq!(info["infotexts"].as_array().unwrap().len(), pictures.len(), "{info}");
    (pictures.len(), info["index_of_first_image"].clone())
}

#[test]
fn a_grid_stands_before_pictures_that_are_saved_and_is_saved_with_them() {
    let bench = Bench::new();
    let server = bench.start();
    let body = quick_with(json!({"save_images": true, "batch_size": 3, "force_task_id": "gridded"}));
    let reply = server.post("/sdapi/v1/txt2img", &body).ok();
    let files: Vec<_> = reply["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap())
        .collect();
    let info: Value = serde_json::from_str(reply["info"].as_str().unwrap()).unwrap();
    assert_eq!((files.len(), &info["index_of_first_image"]), (4, &json!(1)));
    assert_eq!((info["infotexts"].as_array().unwrap().len(), &info["all_seeds"]), (4, &json!([1, 2, 3])));
    let pictures: Vec<_> = files.iter().map(|file| decode(file)).collect();
    for (picture, text) in pictures.iter().zip(info["infotexts"].as_array().unwrap()) {
        assert_eq!(text, picture.infotext.as_str());
    }
    assert_eq!(pictures[0].infotext, pictures[1].infotext, "the grid has the first picture's");

    // Two rows of two, the last of which is empty.
    let grid = &pictures[0];
    assert_eq!((grid.width, grid.height), (128, 128));
    for (picture, place) in pictures[1..].iter().zip([(0, 0), (64, 0), (0, 64)]) {
        assert!(part(grid, place, (64, 64)) == picture.data, "{place:?}");
    }
    assert!(part(grid, (64, 64), (64, 64)).iter().all(|level| *level == 255));

    let saved = files_of_today(&bench, "txt2img-grids");
    assert_eq!(saved.len(), 1);
    assert!(saved[0].ends_with("/grid-0000.png"), "{saved:?}");
    let saved = bench.data.path().join("outputs/default/txt2img-grids").join(&saved[0]);
    assert_eq!(std::fs::read(saved).unwrap(), files[0]);
    let names: Vec<_> = files_of_today(&bench, "txt2img-images");
    let names: Vec<_> = names.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["00000-1.png", "00001-2.png", "00002-3.png"]);

    // The task has what the reply had, and its pictures the paths that they have without a grid.
    let task = server.get("/tasks/gridded").ok();
    let path = |number: u32| format!("images/default/gridded_{number}.png");
    assert_eq!(task["images"], json!([path(4), path(1), path(2), path(3)]));
    assert_eq!(task["infotexts"], info["infotexts"]);
}

#[test]
fn options_say_whether_there_is_a_grid_and_what_it_looks_like() {
    let bench = Bench::new();
    let server = bench.start();
    let with = |options: Value, more: Value| {
        let mut changes = json!({"save_images": true, "batch_size": 2, "override_settings": options});
        changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        changes
    };
    let grids = || files_of_today(&bench, "txt2img-grids").len();
    let none = json!({});
    assert_eq!(counted(&server, json!({"batch_size": 2})), (2, json!(0)), "nothing is saved");
    assert_eq!(counted(&server, with(none.clone(), json!({"batch_size": 1}))), (1, json!(0)));
    assert_eq!(
        counted(&server, with(json!({"return_grid": false, "grid_save": false}), none.clone())),
        (2, json!(0))
    );
    assert_eq!(grids(), 0);
    assert_eq!(counted(&server, with(json!({"return_grid": false}), none.clone())), (2, json!(0)));
    assert_eq!(grids(), 1);
    assert_eq!(counted(&server, with(json!({"grid_save": false}), none.clone())), (3, json!(1)));
    assert_eq!(grids(), 1);
    let alone = with(json!({"grid_only_if_multiple": false}), json!({"batch_size": 1}));
    assert_eq!(counted(&server, alone), (2, json!(1)));

    // As an owner's options, a file of another kind, under a name.
    let options = json!({"n_rows": 0, "grid_format": "jpg", "grid_extended_filename": true, "save_images_add_number": false,
        "grid_save_to_dirs": false});
    assert_eq!(server.post("/sdapi/v1/options", &options).status, 200);
    let (pictures, _) = run(&server, "txt2img", with(none.clone(), json!({"batch_size": 3})));
    assert_eq!((pictures[0].width, pictures[0].height), (64, 192));
    let named = bench.data.path().join("outputs/default/txt2img-grids/1.jpg");
    assert_eq!(std::fs::read(named).unwrap()[..3], [0xff, 0xd8, 0xff]);

    let looks = json!({"n_rows": 2, "grid_background_color": "#010203", "grid_save": false});
    let (pictures, _) = run(&server, "txt2img", with(looks, json!({"batch_size": 3})));
    let empty = part(&pictures[0], (64, 64), (64, 64));
    assert!(empty.chunks(3).all(|colour| colour == [1, 2, 3]));
    let wrong = server.post("/sdapi/v1/txt2img", &quick_with(json!({"override_settings": {"n_rows": -2}})));
    let message = wrong.json()["detail"][0]["msg"].as_str().unwrap().to_owned();
    assert!(wrong.status == 422 && message.contains("n_rows must be -1"), "{message}");
}

#[test]
fn who_is_answered_with_a_task_and_who_draws_by_a_script_has_no_grid_of_the_servers() {
    let bench = Bench::new().plugin("plugins", "scripts");
    let server = bench.start();
    let body = quick_with(json!({"save_images": true, "batch_size": 2}));
    let drawn = server.post("/txt2img", &body).ok();
    assert_eq!(drawn["ossUrl"].as_array().unwrap().len(), 2);
    let accepted = server.post_with("/sdapi/v1/txt2img", &[("Request-Type", "async")], &body).ok();
    let result = server.result(accepted["taskId"].as_str().unwrap());
    assert_eq!(result["images"].as_array().unwrap().len(), 2, "{result}");
    let queued = server.post("/agent-scheduler/v1/queue/txt2img", &body).ok();
    let result = server.result(queued["task_id"].as_str().unwrap());
    assert_eq!(result["images"].as_array().unwrap().len(), 2, "{result}");

    // The script's grid is its first picture, and its files are numbered as pictures.
    let matrix =
        json!({"script_name": "prompt matrix", "prompt": "sea|night", "seed": 7, "save_images": true});
    assert_eq!(counted(&server, matrix), (3, json!(1)));
    assert_eq!(files_of_today(&bench, "txt2img-grids"), Vec::<String>::new());
    assert_eq!(files_of_today(&bench, "txt2img-images").len(), 9);
}
