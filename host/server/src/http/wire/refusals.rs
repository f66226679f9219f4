//! The bodies of failures. What stands in them is decided in `http/error.rs`; these are their shapes, which the OpenAPI
//! document tells of every route.

use serde::Serialize;
use utoipa::ToSchema;

/// Problem details (RFC 9457), sent as `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemDetails {
    /// Always `about:blank`: `code` is what tells problems apart.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// The status in words.
    pub(crate) title: &'static str,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What is wrong and what to do about it, in a sentence.
    pub(crate) detail: String,
    /// The same, as the serverless API names it.
    pub(crate) message: String,
    /// The stable word for programs: `not_found`, `invalid`, `overloaded`.
    pub(crate) code: String,
    /// Also in the header `x-request-id` and in the server's log.
    pub(crate) request_id: String,
    /// Every problem of the request; only with the code `invalid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) errors: Option<Vec<FieldMistake>>,
}

/// One problem of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldMistake {
    /// The field: a JSON pointer (RFC 6901) as a fragment, `#` for the body as a whole. Parameters of the query and headers are
    /// named in the same way.
    pub(crate) pointer: String,
    /// What is wrong with it, in a sentence.
    pub(crate) detail: String,
}

/// A failure as the web UI tells of it, unless `compat.webui_errors` says otherwise.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebUiError {
    /// `RuntimeError` where the server failed, `OutOfMemoryError` where it has not the memory for a picture,
    /// `NotImplementedError` for what it never does, else `HTTPException`.
    pub(crate) error: &'static str,
    /// What is wrong and what to do about it, in a sentence.
    pub(crate) detail: String,
    /// Always empty; left out of `NotImplementedError`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) body: Option<&'static str>,
    /// The same as `detail`.
    pub(crate) errors: String,
}

/// A body or a query that does not fit, as FastAPI tells of it: status 422.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationErrors {
    /// Every problem of it.
    pub(crate) detail: Vec<ValidationError>,
}

/// One problem of a body or a query.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationError {
    /// Where it is: `body`, then the field, with dots between fields of fields; or `query`, then the parameter.
    pub(crate) loc: [String; 2],
    /// What is wrong with it, in a sentence.
    pub(crate) msg: String,
    /// `value_error`; of a query `type_error.bool` or `type_error.integer`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

/// A failure as FastAPI tells of it: what a path or a method that is not there is answered, for which clients test to see
/// whether an API is there, and by `compat.webui_errors = "forge"` any other.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// `Not Found` or `Method Not Allowed`, else what is wrong and what to do about it, in a sentence.
    pub(crate) detail: String,
}
