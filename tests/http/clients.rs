//! What programs that were made for a web UI ask of it, request by request: bodies as they send them, but for smaller
//! pictures, and what they look for in the answers. A file for one to three of them; PyPI's `webuiapi` runs itself in
//! `tests/clients`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Picture, Server, decode};

mod ai_render;
mod aiyabot;
mod android_sketch;
mod chat_pages;
mod devsapp;
mod open_outpaint;
mod photoshop;
mod sillytavern;
mod text_models;

/// A picture of an answer: base64 without anything before it.
#[track_caller]
fn picture(base64: &Value) -> Picture {
    decode(&BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap())
}

/// The document that an answer holds as a text.
#[track_caller]
fn info(reply: &Value) -> Value {
    serde_json::from_str(reply["info"].as_str().unwrap()).unwrap()
}

/// What a menu is filled with: one field of every entry of a list.
#[track_caller]
fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap().to_owned()).collect()
}

/// How a picture was drawn, as programs ask that keep the text beside a copy of their own.
#[track_caller]
fn png_info(server: &Server, base64: &Value) -> String {
    let body = json!({"image": format!("data:image/png;base64,{}", base64.as_str().unwrap())});
    server.post("/sdapi/v1/png-info", &body).ok()["info"].as_str().unwrap().to_owned()
}

/// The base64 of a data URI.
fn bare(uri: &str) -> String {
    uri.split_once(',').unwrap().1.to_owned()
}

/// One element of the web UI's page, as the page's description for its own script has it: where some programs look for
/// menus.
#[track_caller]
fn component(config: &Value, id: &str) -> Value {
    let components = config["components"].as_array().unwrap();
    let found = components.iter().find(|component| component["props"]["elem_id"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {config}"))["props"].clone()
}
