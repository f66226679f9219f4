//! Any names are a checkpoint's and any name a LoRA file's: the table of spellings must answer, never panic. The
//! first line is the name that is looked up, the others are the checkpoint's.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut lines = text.lines().map(str::to_owned);
    let key = lines.next().unwrap_or_default();
    let names: Vec<String> = lines.collect();
    let _ = gesso_torch::lora::knows_key(&names, &key);
});
