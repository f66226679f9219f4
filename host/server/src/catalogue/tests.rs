//! The catalogue over folders of files that are made for each test; few of them are models.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::*;

#[test]
fn finds_a_checkpoint_by_every_name_clients_use_and_suggests_a_near_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(folder.path().join("sub/dreamy.safetensors"), b"abc").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"").unwrap();
    write(folder.path(), &[("VAE/anime/soft.ckpt", b""), ("VAE/anime/dim.ckpt", b""), ("VAE/dim.ckpt", b"")]);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    // sha256("abc"), FIPS 180-2 appendix B.1.
    let title = "sub/dreamy.safetensors [ba7816bf8f]";
    let short_title = "dreamy [ba7816bf8f]";
    let bare = ["dreamy.safetensors", "DREAMY.safetensors", "dreamy.safetensors [ba7816bf8f]"];
    let names = ["dreamy", "Dreamy", "sub/dreamy.safetensors", title, short_title, "ba7816bf", "ba7816bf8f"];
    for name in names.into_iter().chain(bare) {
        assert_eq!(catalogue.checkpoint(Some(name)).unwrap().title(), title, "{name}");
    }
    for (name, place) in [
        ("soft.ckpt", "VAE/anime/soft.ckpt"),
        ("anime/dim.ckpt", "VAE/anime/dim.ckpt"),
        ("dim.ckpt", "VAE/dim.ckpt"),
    ] {
        assert_eq!(catalogue.find(Kind::Vae, name).unwrap().path, folder.path().join(place), "{name}");
    }
    assert_eq!(catalogue.checkpoint(None).unwrap().title(), title);
    let error = catalogue.checkpoint(Some("dreamyy")).unwrap_err().to_string();
    assert!(error.contains("did you mean \"dreamy\"?"), "{error}");
    assert!(catalogue.checkpoint(Some("../sub/dreamy.safetensors")).is_err());
    assert!(catalogue.checkpoint(Some("dreamy [0123456789]")).is_err());
}

/// Writes files into a folder and its folders.
fn write(folder: &Path, files: &[(&str, &[u8])]) {
    for (file, bytes) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn brackets_are_part_of_a_name_unless_a_hash_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("Lora/ink.safetensors", b""),
            ("Lora/ink [v2].safetensors", b""),
            ("a.ckpt", b"xyz"),
            ("a [v2].ckpt", b"abc"),
        ],
    );
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let lora = |name| catalogue.find(Kind::Lora, name).map(|file| file.name.clone()).ok();
    for (name, found) in [
        ("ink", Some("ink")),
        ("Ink [V2]", Some("ink [v2]")),
        ("ink [0123456789ab]", Some("ink")),
        ("ink [v2] [0123456789ab]", Some("ink [v2]")),
        ("ink [v3]", None),
    ] {
        assert_eq!(lora(name).as_deref(), found, "{name}");
    }
    let title = "a [v2].ckpt [ba7816bf8f]";
    for name in ["a [v2].ckpt", "a [v2]", title, "a [v2] [ba7816bf8f]"] {
        assert_eq!(catalogue.checkpoint(Some(name)).unwrap().title(), title, "{name}");
    }
    assert!(catalogue.checkpoint(Some("a [v3].ckpt")).is_err());
}

#[test]
fn a_hash_tells_files_of_one_name_apart() {
    let folder = tempfile::tempdir().unwrap();
    let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
    write(
        folder.path(),
        &[
            ("ControlNet/one/canny.pth", b"one"),
            ("ControlNet/two/canny.pth", &middle),
            ("one/a.ckpt", b"one"),
            ("two/a.ckpt", b"abc"),
        ],
    );
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let control = |name| catalogue.find(Kind::Control, name).unwrap().path.clone();
    assert_eq!(control("canny [ba7816bf]"), folder.path().join("ControlNet/two/canny.pth"));
    // Web UIs hash in more than one way, and one that fits none is no reason to refuse.
    for name in ["canny", "canny [01234567]"] {
        assert_eq!(control(name), folder.path().join("ControlNet/one/canny.pth"), "{name}");
    }
    assert_eq!(catalogue.checkpoint(Some("a [ba7816bf8f]")).unwrap().file_name, "two/a.ckpt");
    assert_eq!(catalogue.checkpoint(Some("a")).unwrap().file_name, "one/a.ckpt");
}

#[test]
fn a_checkpoint_answers_to_its_old_hash_of_eight_digits() {
    let folder = tempfile::tempdir().unwrap();
    let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
    write(folder.path(), &[("a.ckpt", &middle), ("b.ckpt", b"xyz")]);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    for name in ["ba7816bf", "BA7816BF", "a.ckpt [ba7816bf]", "a [ba7816bf]"] {
        assert_eq!(catalogue.checkpoint(Some(name)).unwrap().file_name, "a.ckpt", "{name}");
    }
    // More digits than the old hash had are of the other one.
    assert!(catalogue.checkpoint(Some("ba7816bf8f")).is_err());
    // That of a whole file goes before, once it is known.
    std::fs::write(folder.path().join("c.ckpt"), b"abc").unwrap();
    assert_eq!(catalogue.checkpoint(Some("ba7816bf8f")).unwrap().file_name, "c.ckpt");
    assert_eq!(catalogue.checkpoint(Some("ba7816bf")).unwrap().file_name, "c.ckpt");
}

#[test]
fn no_checkpoint_is_read_as_a_whole_for_the_old_hash_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let middle = [vec![0; 1 << 20], b"abc".to_vec()].concat();
    write(folder.path(), &[("a.ckpt", b"xyz"), ("b.ckpt", &middle)]);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    assert_eq!(catalogue.checkpoint(Some("ba7816bf")).unwrap().file_name, "b.ckpt");
    let is_read = |name: &str| catalogue.hashes.if_known(&folder.path().join(name), Part::Whole).is_some();
    assert_eq!((is_read("a.ckpt"), is_read("b.ckpt")), (false, true));
}

#[test]
fn the_default_is_a_checkpoint_that_can_be_drawn_with() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.ckpt", b"something else")]);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    assert_eq!(catalogue.checkpoint(None).unwrap().file_name, "a.ckpt", "none better is there");
    let demo = "../../examples/demo-model/demo-v3.safetensors";
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join(demo);
    std::fs::copy(demo, folder.path().join("b.safetensors")).unwrap();
    assert_eq!(catalogue.checkpoint(None).unwrap().file_name, "b.safetensors");
}

#[test]
fn what_keeps_a_folder_from_being_drawn_with_is_said_with_the_folder_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let told = |default: Option<&str>, name: Option<&str>| {
        Catalogue::new(folder.path().join("models"), default.map(str::to_owned), None).shortage(name)
    };
    let shortage = |default: Option<&str>| told(default, None);
    let place = folder.path().join("models").display().to_string();
    let is_said = |word: &str| {
        let said = shortage(None).unwrap();
        assert!(said.contains(&place) && said.contains(word), "{said}");
    };
    is_said("cannot be read");
    std::fs::create_dir(folder.path().join("models")).unwrap();
    is_said("--models");
    std::fs::write(folder.path().join("models/large.safetensors"), large()).unwrap();
    is_said("it is a Stable Diffusion XL");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/demo-model/demo-v3.safetensors");
    std::fs::copy(demo, folder.path().join("models/demo.safetensors")).unwrap();
    assert_eq!(shortage(None), None);
    assert_eq!(shortage(Some("Demo.safetensors")), None);
    let said = shortage(Some("dema")).unwrap();
    assert!(said.contains("default_model") && said.contains("did you mean \"demo\"?"), "{said}");
    let said = shortage(Some("large")).unwrap();
    assert!(said.starts_with("default_model: large.safetensors: it is a Stable Diffusion XL"), "{said}");
    // Who names a checkpoint hears of that one, whatever becomes of the default.
    assert_eq!(told(Some("gone"), Some("demo")), None);
    for (name, says) in [("dema", "\"dema\""), ("large", "large.safetensors: it is a Stable Diffusion XL")] {
        let said = told(Some("gone"), Some(name)).unwrap();
        assert!(said.contains(says) && !said.contains("default_model"), "{said}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_drawn_with_is_named_with_what_it_is_and_without_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 3] =
        [("sub/large.safetensors", &large()), ("empty.safetensors", b""), ("odd.ckpt", b"something else")];
    write(folder.path(), &files);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    for (name, says) in [
        (
            "large",
            "sub/large.safetensors: it is a Stable Diffusion XL checkpoint; use a Stable Diffusion 1.x",
        ),
        ("empty", "empty.safetensors: it is not a whole model file"),
        ("odd", "odd.ckpt: "),
    ] {
        let said = catalogue.drawable(Some(name)).unwrap_err().to_string();
        assert!(said.starts_with(says) && !said.contains(folder.path().to_str().unwrap()), "{said}");
        assert!(catalogue.checkpoint(Some(name)).is_ok(), "it is there, and listed");
    }
    assert!(catalogue.drawable(Some("gone")).unwrap_err().to_string().starts_with("there is no model"));
}

#[test]
fn of_names_that_differ_by_case_alone_the_one_that_is_spelled_so_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 6] = [
        ("Dreamy.ckpt", b"upper"),
        ("dreamy.ckpt", b"lower"),
        ("a/b.ckpt.safetensors", b"whose stem is the other's name"),
        ("b.ckpt", b"b"),
        ("Lora/Ink.safetensors", b""),
        ("Lora/ink.safetensors", b""),
    ];
    write(folder.path(), &files);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    for (name, found) in [
        ("Dreamy.ckpt", "Dreamy.ckpt"),
        ("dreamy.ckpt", "dreamy.ckpt"),
        ("dreamy", "dreamy.ckpt"),
        ("DREAMY", "Dreamy.ckpt"),
        ("b.ckpt", "b.ckpt"),
    ] {
        assert_eq!(catalogue.checkpoint(Some(name)).unwrap().file_name, found, "{name}");
    }
    for checkpoint in catalogue.checkpoints().unwrap() {
        let title = checkpoint.title();
        assert_eq!(catalogue.checkpoint(Some(&title)).unwrap().title(), title);
    }
    assert_eq!(catalogue.find(Kind::Lora, "ink").unwrap().name, "ink");
    assert_eq!(catalogue.find(Kind::Lora, "INK").unwrap().name, "Ink");
}

#[test]
fn a_name_means_what_is_spelled_so_before_what_differs_by_case() {
    let names = ["Tagger".to_owned(), "tagger".to_owned()];
    let found = |name: &str| spelled(&names, name, String::as_str).map(String::as_str);
    assert_eq!(found("tagger"), Some("tagger"));
    assert_eq!((found("Tagger"), found("TAGGER")), (Some("Tagger"), Some("Tagger")));
    assert_eq!(found("tag"), None);
}

/// The head of a Stable Diffusion XL checkpoint, whose second text encoder tells it.
fn large() -> Vec<u8> {
    let tensor = r#"{"dtype":"F16","shape":[1],"data_offsets":[0,2]}"#;
    let header = format!(r#"{{"conditioner.embedders.1.model.ln_final.weight":{tensor}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 2][..]].concat()
}

/// A PNG with a textual inversion of one vector in its text.
fn picture(name: &str) -> Vec<u8> {
    let tensor = serde_json::json!({"*": {"TORCHTENSOR": [[0.5, 0.25]]}});
    let json = serde_json::json!({"name": name, "string_to_param": tensor});
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.set_color(png::ColorType::Rgb);
    let text = BASE64_STANDARD.encode(json.to_string());
    encoder.add_text_chunk("sd-ti-embedding".into(), text).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[0; 3]).unwrap();
    writer.finish().unwrap();
    bytes
}

#[test]
fn a_textual_inversion_in_a_picture_is_called_what_the_picture_says() {
    let folder = tempfile::tempdir().unwrap();
    let files: [(&str, &[u8]); 4] = [
        ("embeddings/download 1.png", &picture("night")),
        ("embeddings/unnamed.PNG", &picture("")),
        ("embeddings/broken.webp", b"no picture"),
        ("embeddings/easy.pt", b""),
    ];
    write(folder.path(), &files);
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let names =
        || -> Vec<_> { catalogue.embeddings().unwrap().into_iter().map(|file| file.name.clone()).collect() };
    assert_eq!(names(), ["broken", "night", "easy", "unnamed"]);
    write(folder.path(), &[("embeddings/download 1.png", &picture("another night"))]);
    assert_eq!(names(), ["broken", "another night", "easy", "unnamed"]);
}

#[test]
fn a_vae_goes_with_the_checkpoint_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for file in
        ["a.ckpt", "a.vae.pt", "b.ckpt", "VAE/b.safetensors", "c.ckpt", "d.ckpt", "VAE/D.pt", "VAE/d.vae.pt"]
    {
        write(folder.path(), &[(file, file.as_bytes())]);
    }
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let vae = |name| {
        let checkpoint = catalogue.checkpoint(Some(name)).unwrap();
        catalogue.vae_of(&checkpoint.file).unwrap().map(|vae| vae.path.clone())
    };
    assert_eq!(vae("a"), Some(folder.path().join("a.vae.pt")));
    assert_eq!(vae("b"), Some(folder.path().join("VAE/b.safetensors")));
    assert_eq!(vae("c"), None);
    assert_eq!(vae("d"), Some(folder.path().join("VAE/D.pt")), "in any case");
    write(folder.path(), &[("VAE/d.pt", b"")]);
    assert_eq!(vae("d"), Some(folder.path().join("VAE/d.pt")));
}

#[test]
fn a_vae_whose_name_begins_with_the_checkpoints_goes_with_it_behind_one_of_its_very_name() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a.ckpt", "b.ckpt", "VAE/a-bright.pt", "VAE/a-soft.pt", "VAE/sub/a-2.pt", "VAE/not-b.pt"] {
        write(folder.path(), &[(file, file.as_bytes())]);
    }
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let vae = |name| {
        let checkpoint = catalogue.checkpoint(Some(name)).unwrap();
        catalogue.vae_of(&checkpoint.file).unwrap().map(|vae| vae.name.clone())
    };
    assert_eq!(vae("a").as_deref(), Some("a-2"), "the shortest");
    assert_eq!(vae("b"), None);
    write(folder.path(), &[("VAE/a.vae.pt", b"")]);
    assert_eq!(vae("a").as_deref(), Some("a.vae"));
}

#[test]
fn a_lora_answers_to_its_trainers_name_unless_two_have_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("Lora")).unwrap();
    let write = |file: &str, name: &str| {
        let header = format!(r#"{{"__metadata__":{{"ss_output_name":"{name}"}}}}"#);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.into_bytes());
        std::fs::write(folder.path().join("Lora").join(file), bytes).unwrap();
    };
    write("a.safetensors", "ink");
    write("b.safetensors", "oil");
    write("c.safetensors", "oil");
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    assert_eq!(catalogue.find(Kind::Lora, "ink").unwrap().name, "a");
    assert!(catalogue.find(Kind::Lora, "oil").is_err());
    write("c.safetensors", "chalk, longer");
    assert_eq!(catalogue.find(Kind::Lora, "oil").unwrap().name, "b");
}

#[test]
fn a_missing_lora_is_named_with_the_folder_it_belongs_in() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(folder.path().to_owned(), None, None);
    let error = catalogue.find(Kind::Lora, "style").unwrap_err().to_string();
    assert_eq!(error, "there is no LoRA \"style\"; put it into the folder Lora inside the models folder");
}
