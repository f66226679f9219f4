//! Pictures behind signed, expiring URLs, for object stores that cannot sign their own.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use gesso_store::{Clock, ObjectsError, SystemClock};

use crate::app::App;
use crate::error::AppError;
use crate::http::error::{Failure, problem};
use crate::http::extract::PathText;

/// A picture, to whoever holds its signed URL.
#[utoipa::path(get, path = "/files/{id}", tag = "files",
    params(("id" = String, Path, description = "As in a signed URL"),
           ("exp" = u64, Query, description = "Unix seconds"), ("kid" = String, Query), ("sig" = String, Query)),
    responses((status = 200, description = "The file", content(("image/png"), ("image/jpeg"), ("image/webp"))), (status = 403, description = "Expired or not signed by this server"),
              (status = 410, description = "Deleted since it was signed")))]
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let signer = app.objects.local_signer().ok_or_else(|| {
        AppError::NotFound(
            "pictures are in an object store of their own; follow the URL of the task's result".into(),
        )
    })?;
    let key = match signer.verify(&id, query.as_deref().unwrap_or_default(), SystemClock.now_ms()) {
        Ok(key) => key,
        Err(error) => {
            return Ok(problem(StatusCode::FORBIDDEN, "forbidden", &error.to_string()));
        }
    };
    let bytes = app.objects.get(&key).await.map_err(|error| match error {
        // Only what is there is signed.
        ObjectsError::NotFound(_) => AppError::Gone("the picture was deleted".into()),
        other => other.into(),
    })?;
    let headers = [
        (header::CONTENT_TYPE, key.content_type()),
        (header::CACHE_CONTROL, "private, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    Ok((headers, bytes).into_response())
}
