//! Scripts that draw several pictures for one request. What each draws is decided in its file, which knows no host; this one
//! and `drawing` ask for the pictures.

mod drawing;
mod grid;
mod loopback;
mod margins;
mod matrix;
mod outpainting;
mod outpainting_mk2;
mod prompt_list;
mod sd_upscale;
mod strokes;
#[cfg(test)]
mod tests;
mod texture;
mod tiles;
mod ultimate_upscale;
mod xyz;

use gesso_plugin::{Fault, Script, ScriptCall, ScriptOutput};

struct Scripts;

impl Script for Scripts {
    fn run(call: ScriptCall) -> Result<ScriptOutput, Fault> {
        match call.title.as_str() {
            "Prompt matrix" => matrix::run(&call),
            "Prompts from file or textbox" => prompt_list::run(&call),
            "Loopback" => loopback::run(call),
            "Poor man's outpainting" => outpainting::run(call),
            "Outpainting mk2" => outpainting_mk2::run(call),
            "SD upscale" => sd_upscale::run(call),
            "Ultimate SD upscale" => ultimate_upscale::run(call),
            "X/Y/Z plot" => xyz::run(&call),
            other => Err(Fault::InvalidInput(format!("There is no script {other:?}."))),
        }
    }
}

gesso_plugin::script!(Scripts, manifest = "manifest.json");
