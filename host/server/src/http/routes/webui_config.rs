//! The web UI's own page, as far as clients read what it is made of: its menus hold names that no other route lists there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gesso_core::hires::LatentUpscaler;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::webui_lists::{loras, upscalers};
use crate::app::App;
use crate::http::error::WebUiFailure;
use crate::http::wire::control::UNITS_MAX;

/// The page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageConfig {
    components: Vec<Component>,
}

/// A menu or a field of the page.
#[derive(Debug, Serialize, ToSchema)]
struct Component {
    /// `elem_id`, and `choices` or `value`.
    #[schema(value_type = Object)]
    props: Map<String, Value>,
}

/// The menus of the web UI's page that clients look into: upscalers of the second pass, LoRAs, ControlNet's units.
#[utoipa::path(get, path = "/config", tag = "web UI", responses((status = 200, description = "The menus", body = PageConfig)))]
pub(crate) async fn config(State(app): State<Arc<App>>) -> Result<Json<PageConfig>, WebUiFailure> {
    let Json(upscalers) = upscalers(State(app.clone())).await?;
    let Json(loras) = loras(State(app)).await?;
    let latent = LatentUpscaler::ALL.into_iter().map(|mode| mode.label().to_owned());
    let of_second_pass: Vec<_> = latent.chain(upscalers.into_iter().map(|upscaler| upscaler.name)).collect();
    let loras: Vec<_> =
        std::iter::once("None".to_owned()).chain(loras.into_iter().map(|lora| lora.name)).collect();
    let components = [
        ("txt2img_hr_upscaler", "choices", json!(of_second_pass)),
        ("setting_sd_lora", "choices", json!(loras)),
        ("setting_control_net_max_models_num", "value", json!(UNITS_MAX)),
    ];
    let component = |(id, name, value): (&str, &str, Value)| Component {
        props: [("elem_id".to_owned(), id.into()), (name.to_owned(), value)].into_iter().collect(),
    };
    Ok(Json(PageConfig { components: components.into_iter().map(component).collect() }))
}
