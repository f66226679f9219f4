//! The web UI's two answers of routes that have nothing to tell.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Null;

/// `{}`.
#[derive(Debug, Serialize)]
pub(crate) struct Empty {}

impl PartialSchema for Null {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Null).description(Some("There is nothing to tell.")).into()
    }
}

impl ToSchema for Null {
    fn name() -> Cow<'static, str> {
        "Null".into()
    }
}

impl PartialSchema for Empty {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .description(Some("There is nothing to tell."))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)))
            .into()
    }
}

impl ToSchema for Empty {
    fn name() -> Cow<'static, str> {
        "Empty".into()
    }
}
