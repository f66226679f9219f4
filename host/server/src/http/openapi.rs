//! The OpenAPI document, put together from the handlers and the wire types.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::routes::{controlnet, files, health, plugins, serverless, webui, webui_extras, webui_lists};
use super::wire::schema::{
    DetectBody, ExtraBatchImagesBody, ExtraSingleImageBody, Img2ImgBody, PngInfoBody, Txt2ImgBody,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Gesso", description = "A Stable Diffusion server with sandboxed plugins", license(name = "Apache-2.0")),
    modifiers(&AdminKey),
    paths(
        serverless::txt2img, serverless::img2img, serverless::result, serverless::progress, serverless::cancellation,
        serverless::models,
        webui::txt2img, webui::img2img, webui::progress, webui::interrupt,
        webui_extras::extra_single_image, webui_extras::extra_batch_images, webui_extras::png_info,
        webui_lists::sd_models, webui_lists::samplers, webui_lists::schedulers, webui_lists::options,
        webui_lists::scripts, webui_lists::script_info, webui_lists::latent_upscale_modes, webui_lists::upscalers, webui_lists::face_restorers, webui_lists::sd_vae,
        webui_lists::loras, webui_lists::hypernetworks, webui_lists::prompt_styles,
        controlnet::version, controlnet::settings, controlnet::model_list, controlnet::module_list, controlnet::control_types,
        controlnet::detect,
        files::file,
        plugins::list, plugins::show, plugins::install, plugins::remove, plugins::rollback, plugins::grant, plugins::logs, plugins::history, plugins::configure,
        health::live, health::ready, health::metrics,
    ),
    components(schemas(
        Txt2ImgBody, Img2ImgBody, ExtraSingleImageBody, ExtraBatchImagesBody, PngInfoBody, DetectBody, plugins::GrantBody,
    )),
)]
struct Document;

struct AdminKey;

impl Modify for AdminKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The admin key: the file admin-key in the data folder"))
            .build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("admin_key", SecurityScheme::Http(scheme));
    }
}

/// The document served at `/openapi.json`.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_published_contract_changes_only_on_purpose() {
        insta::assert_json_snapshot!(super::document());
    }
}
