//! The OpenAPI document: paths from the handlers, the request schema from the same table that reads it.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{Modify, OpenApi, PartialSchema, ToSchema};

use super::routes::{files, health, plugins, serverless, webui};
use super::wire::fields::Kind;
use super::wire::txt2img::FIELDS;

/// The body of both text-to-image routes.
#[derive(Debug)]
pub(crate) struct Txt2ImgBody;

impl PartialSchema for Txt2ImgBody {
    fn schema() -> RefOr<Schema> {
        let mut object = ObjectBuilder::new().description(Some(
            "Fields of the web UI's text-to-image request. Numbers may come as strings, null is the default, and \
             unknown fields are ignored. POST /txt2img also needs stable_diffusion_model.",
        ));
        object = object.property(
            "stable_diffusion_model",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some("The checkpoint; required by POST /txt2img only.")),
        );
        for field in FIELDS {
            object = object.property(field.name, field_schema(field.kind, field.doc));
        }
        object.into()
    }
}

impl ToSchema for Txt2ImgBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "Txt2ImgBody".into()
    }
}

fn field_schema(kind: Kind, doc: &str) -> RefOr<Schema> {
    let plain = |kind: Type| ObjectBuilder::new().schema_type(kind).description(Some(doc));
    match kind {
        Kind::Text(text) => plain(Type::String).default(Some(text.into())).into(),
        Kind::OptionalText => plain(Type::String).into(),
        Kind::Integer(number) => plain(Type::Integer).default(Some(number.into())).into(),
        Kind::Seed => plain(Type::Integer).default(Some((-1).into())).into(),
        Kind::Float(number) => plain(Type::Number).default(Some(number.into())).into(),
        Kind::OptionalFloat => plain(Type::Number).into(),
        Kind::Boolean(flag) => plain(Type::Boolean).default(Some(flag.into())).into(),
        Kind::OptionalBoolean => plain(Type::Boolean).into(),
        Kind::Object | Kind::OptionalObject => plain(Type::Object).into(),
        Kind::OptionalTextList => ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(Type::String))
            .description(Some(doc))
            .into(),
        Kind::List => ArrayBuilder::new().items(ObjectBuilder::new()).description(Some(doc)).into(),
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Gesso", description = "A Stable Diffusion server with sandboxed plugins", license(name = "Apache-2.0")),
    modifiers(&AdminKey),
    paths(
        serverless::txt2img, serverless::result, serverless::progress, serverless::cancellation, serverless::models,
        webui::txt2img, webui::progress, webui::interrupt, webui::sd_models, webui::samplers, webui::schedulers,
        webui::options, webui::scripts,
        files::file,
        plugins::list, plugins::show, plugins::install, plugins::remove, plugins::rollback, plugins::grant, plugins::logs,
        health::live, health::ready, health::metrics,
    ),
    components(schemas(Txt2ImgBody, plugins::GrantBody)),
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
