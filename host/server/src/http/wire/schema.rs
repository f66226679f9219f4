//! The schemas of the bodies of the web UI's fields for the OpenAPI document, from the same tables that read the bodies.

use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::detect;
use super::extras::Extras;
use super::fields::{Field, Kind};
use super::generate::Drawing;
use super::interrogate;

/// The body of both text-to-image routes.
#[derive(Debug)]
pub(crate) struct Txt2ImgBody;

/// The body of both image-to-image routes.
#[derive(Debug)]
pub(crate) struct Img2ImgBody;

impl PartialSchema for Txt2ImgBody {
    fn schema() -> RefOr<Schema> {
        body(Drawing::Txt2Img)
    }
}

impl ToSchema for Txt2ImgBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "Txt2ImgBody".into()
    }
}

impl PartialSchema for Img2ImgBody {
    fn schema() -> RefOr<Schema> {
        body(Drawing::Img2Img)
    }
}

impl ToSchema for Img2ImgBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "Img2ImgBody".into()
    }
}

/// The body that enlarges one picture.
#[derive(Debug)]
pub(crate) struct ExtraSingleImageBody;

/// The body that enlarges several pictures.
#[derive(Debug)]
pub(crate) struct ExtraBatchImagesBody;

/// The body that asks how a picture was drawn.
#[derive(Debug)]
pub(crate) struct PngInfoBody;

impl PartialSchema for ExtraSingleImageBody {
    fn schema() -> RefOr<Schema> {
        extras(Extras::Single)
    }
}

impl ToSchema for ExtraSingleImageBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "ExtraSingleImageBody".into()
    }
}

impl PartialSchema for ExtraBatchImagesBody {
    fn schema() -> RefOr<Schema> {
        extras(Extras::Batch)
    }
}

impl ToSchema for ExtraBatchImagesBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "ExtraBatchImagesBody".into()
    }
}

impl PartialSchema for PngInfoBody {
    fn schema() -> RefOr<Schema> {
        let image = field_schema(Kind::Text(""), "The picture's file, base64 or data URI.");
        ObjectBuilder::new().property("image", image).into()
    }
}

impl ToSchema for PngInfoBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "PngInfoBody".into()
    }
}

/// The body that asks for the words of a picture.
#[derive(Debug)]
pub(crate) struct InterrogateBody;

impl PartialSchema for InterrogateBody {
    fn schema() -> RefOr<Schema> {
        with_fields(ObjectBuilder::new(), interrogate::FIELDS.iter()).into()
    }
}

impl ToSchema for InterrogateBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "InterrogateBody".into()
    }
}

/// The body that asks what tags score.
#[derive(Debug)]
pub(crate) struct TaggerBody;

impl PartialSchema for TaggerBody {
    fn schema() -> RefOr<Schema> {
        with_fields(ObjectBuilder::new(), interrogate::TAGGER_FIELDS.iter()).into()
    }
}

impl ToSchema for TaggerBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "TaggerBody".into()
    }
}

/// The body that asks for the maps of pictures.
#[derive(Debug)]
pub(crate) struct DetectBody;

impl PartialSchema for DetectBody {
    fn schema() -> RefOr<Schema> {
        with_fields(ObjectBuilder::new(), detect::FIELDS.iter()).into()
    }
}

impl ToSchema for DetectBody {
    fn name() -> std::borrow::Cow<'static, str> {
        "DetectBody".into()
    }
}

fn extras(extras: Extras) -> RefOr<Schema> {
    let description = "Numbers may come as strings, null is the default, and unknown fields are ignored.";
    with_fields(ObjectBuilder::new().description(Some(description)), extras.fields()).into()
}

fn with_fields(object: ObjectBuilder, fields: impl Iterator<Item = &'static Field>) -> ObjectBuilder {
    fields.fold(object, |object, field| object.property(field.name, field_schema(field.kind, field.doc)))
}

fn body(drawing: Drawing) -> RefOr<Schema> {
    let name = drawing.as_str();
    let mut object = ObjectBuilder::new().description(Some(format!(
        "Fields of the web UI's {name} request. Numbers may come as strings, null is the default, and unknown fields \
         are ignored. POST /{name} also needs stable_diffusion_model.",
    )));
    object = object.property(
        "stable_diffusion_model",
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(format!("The checkpoint; required by POST /{name} only."))),
    );
    with_fields(object, drawing.fields()).into()
}

fn field_schema(kind: Kind, doc: &str) -> RefOr<Schema> {
    let plain = |kind: Type| ObjectBuilder::new().schema_type(kind).description(Some(doc));
    match kind {
        Kind::Text(text) => plain(Type::String).default(Some(text.into())).into(),
        Kind::OptionalText => plain(Type::String).into(),
        Kind::Integer(number) => plain(Type::Integer).default(Some(number.into())).into(),
        Kind::OptionalInteger => plain(Type::Integer).into(),
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
        Kind::ListOrObject => ObjectBuilder::new().description(Some(doc)).into(),
        Kind::List => ArrayBuilder::new().items(ObjectBuilder::new()).description(Some(doc)).into(),
    }
}
