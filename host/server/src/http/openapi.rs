//! The OpenAPI document, put together from the handlers and the wire types.

use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::{Modify, OpenApi};

use super::routes::{
    accounts, controlnet, files, health, plugins, serverless, tasks, webui, webui_extras, webui_internal,
    webui_lists, webui_options, webui_server,
};
use super::wire::schema::{
    DetectBody, ExtraBatchImagesBody, ExtraSingleImageBody, Img2ImgBody, PngInfoBody, Txt2ImgBody,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Gesso", description = "A Stable Diffusion server with sandboxed plugins", license(name = "Apache-2.0")),
    modifiers(&Credentials, &Refusals), security(("bearer" = []), ("basic" = []), ("token" = [])),
    paths(
        serverless::txt2img, serverless::img2img, serverless::extra_images, serverless::restart, serverless::initialize, serverless::result, serverless::progress, serverless::cancellation,
        serverless::models, tasks::list, tasks::show, tasks::remove, tasks::retry, tasks::events, tasks::websocket,
        tasks::webhook_secret,
        webui::txt2img, webui::img2img, webui::progress, webui::interrupt,
        webui_extras::extra_single_image, webui_extras::extra_batch_images, webui_extras::png_info,
        webui_lists::sd_models, webui_lists::samplers, webui_lists::schedulers, webui_options::webui, webui_options::change_webui, webui_options::serverless, webui_options::change_serverless,
        webui_lists::scripts, webui_lists::script_info, webui_lists::latent_upscale_modes, webui_lists::upscalers, webui_lists::face_restorers, webui_lists::sd_vae,
        webui_lists::embeddings, webui_lists::realesrgan_models,
        webui_server::memory, webui_server::unload_checkpoint, webui_server::reload_checkpoint, webui_server::refresh_checkpoints,
        webui_server::refresh_vae, webui_server::refresh_loras, webui_server::refresh_embeddings, webui_server::skip,
        webui_server::cmd_flags, webui_server::extensions, webui_server::interrogate,
        webui_internal::progress, webui_internal::pending_tasks, webui_internal::ping,
        webui_lists::loras, webui_lists::hypernetworks, webui_lists::prompt_styles,
        controlnet::version, controlnet::settings, controlnet::model_list, controlnet::module_list, controlnet::control_types,
        controlnet::detect,
        files::file,
        plugins::list, plugins::show, plugins::install, plugins::remove, plugins::rollback, plugins::grant, plugins::logs, plugins::history, plugins::configure,
        accounts::login, accounts::logout, accounts::whoami, accounts::users, accounts::add_user, accounts::user,
        accounts::change_user, accounts::remove_user, accounts::keys, accounts::add_key, accounts::remove_key, accounts::audit,
        health::live, health::ready, health::metrics,
    ),
    components(schemas(
        Txt2ImgBody, Img2ImgBody, ExtraSingleImageBody, ExtraBatchImagesBody, PngInfoBody, DetectBody, plugins::GrantBody,
    )),
)]
struct Document;

/// How a request says who sent it. None is needed where access is open, and by the routes of anybody.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let http = |scheme, text: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(text)).build())
        };
        let bearer = "An API key, a session's token, or the admin key, which is in the file admin-key in the data folder";
        let basic = "A user's name, with their password or one of their keys";
        let token =
            ApiKeyValue::with_description("Token", "The same as bearer, as the serverless API has it");
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", http(HttpAuthScheme::Bearer, bearer));
        components.add_security_scheme("basic", http(HttpAuthScheme::Basic, basic));
        components.add_security_scheme("token", SecurityScheme::ApiKey(ApiKey::Header(token)));
    }
}

/// Routes that ask nobody who they are.
const PUBLIC: [&str; 4] = ["/login", "/files/{id}", "/health/live", "/health/ready"];

/// What every operation may answer beside what its own lines say.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let refused = ResponseBuilder::new()
            .description("Refused, with the reason: problem details, or the web UI's shape on its routes")
            .build();
        for (path, item) in &mut document.paths.paths {
            let operations =
                [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("4XX".into(), refused.clone().into());
                if PUBLIC.contains(&path.as_str()) {
                    operation.security = Some(vec![SecurityRequirement::default()]);
                }
            }
        }
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
