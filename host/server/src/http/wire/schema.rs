//! The schema of the text-to-image body for the OpenAPI document, from the same table that reads the body.

use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::fields::Kind;
use super::txt2img::FIELDS;

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
