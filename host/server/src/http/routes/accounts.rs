//! Users, API keys and sessions, and the log of what was done.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::{Allowance, Caller, KeyView, Refusal, Role, UserChange, UserView};
use crate::app::App;
use crate::audit::AuditLine;
use crate::error::AppError;
use crate::http::access::{From, Secret};
use crate::http::error::{Failure, problem};
use crate::http::extract::{JsonBody, Parameters, PathText};
use crate::http::request_id;
use crate::http::wire::task::Done;

/// Lines of the audit log that are told at most.
const AUDIT_LINES_MAX: usize = 10_000;

/// A name and a password, as the serverless API spells them.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct LoginBody {
    // The product's own examples write both with a capital.
    #[serde(rename = "userName", alias = "UserName")]
    user_name: String,
    #[serde(alias = "Password")]
    password: String,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    /// What proves from now on who asks.
    token: String,
    /// The name as it was sent.
    user_name: String,
    /// Always `login success`.
    message: &'static str,
}

/// Opens a session. Its token goes into the header `Token`, or behind `Authorization: Bearer`, and ends when it has not
/// been used for an hour, and after `session_hours_max` of the settings whatever its use.
#[utoipa::path(post, path = "/login", tag = "accounts", request_body = LoginBody,
    responses((status = 200, description = "The session", body = Session), (status = 401, description = "No such user, or another password"),
              (status = 429, description = "Too many wrong passwords")))]
pub(crate) async fn login(
    State(app): State<Arc<App>>,
    From(from): From,
    JsonBody(body): JsonBody<LoginBody>,
) -> Response {
    let name = body.user_name;
    let opened = app.accounts.login(&name, &body.password, from).await;
    let response = match opened {
        Ok(token) => {
            Json(Session { token, user_name: name.clone(), message: "login success" }).into_response()
        }
        Err(Refusal::Wrong) => {
            let status =
                if app.settings.compat.login_410 { StatusCode::GONE } else { StatusCode::UNAUTHORIZED };
            problem(status, "unauthorized", "login fail: there is no such user, or the password is another")
        }
        Err(refusal @ Refusal::TooMany { seconds }) => {
            let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "overloaded", &refusal.to_string());
            response.headers_mut().insert("retry-after", seconds.into());
            // Not written down: whoever tries on would flush the log.
            return response;
        }
    };
    let who = name.chars().filter(|letter| !letter.is_control()).take(64).collect();
    let (status, what) = (response.status(), "POST /login".to_owned());
    if status.is_success() {
        app.audit.note_session(request_id::current(), who, from, what, status.as_u16()).await;
    } else {
        app.audit.note_refusal(request_id::current(), who, from, what, status.as_u16()).await;
    }
    response
}

/// Ends the session whose token the request has.
#[utoipa::path(post, path = "/logout", tag = "accounts", responses((status = 200, description = "Ended", body = Done)))]
pub(crate) async fn logout(State(app): State<Arc<App>>, Secret(token): Secret) -> Json<Done> {
    if let Some(token) = token {
        app.accounts.logout(&token);
    }
    Json(Done::SUCCESS)
}

/// Who the server takes the caller for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhoAmI {
    /// `default` where nobody has to say who they are.
    name: String,
    /// What they may do.
    role: Role,
    /// Whether nobody has to say who they are.
    open: bool,
}

/// Who the server takes you for.
#[utoipa::path(get, path = "/whoami", tag = "accounts",
    responses((status = 200, description = "Whom", body = WhoAmI)))]
pub(crate) async fn whoami(State(app): State<Arc<App>>, caller: Caller) -> Json<WhoAmI> {
    Json(WhoAmI { name: caller.name, role: caller.role, open: app.is_open() })
}

/// Everybody who has an account.
#[utoipa::path(get, path = "/users", tag = "accounts",
    responses((status = 200, description = "By name", body = Vec<UserView>)))]
pub(crate) async fn users(State(app): State<Arc<App>>) -> Json<Vec<UserView>> {
    Json(app.accounts.users())
}

/// A new user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUserBody {
    /// Letters, digits, `_` and `-`; it is in the paths of their pictures.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    name: String,
    /// `user` unless said otherwise.
    role: Option<Role>,
    /// At least 12 characters; without one only keys let them in.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
    #[serde(default)]
    allowance: Allowance,
}

/// Adds a user. From then on everybody has to say who they are.
#[utoipa::path(post, path = "/users", tag = "accounts", request_body = NewUserBody,
    responses((status = 201, description = "Added", body = UserView), (status = 400, description = "Every problem of the body"), (status = 409, description = "The name is taken")))]
pub(crate) async fn add_user(
    State(app): State<Arc<App>>,
    JsonBody(body): JsonBody<NewUserBody>,
) -> Result<Response, Failure> {
    let NewUserBody { name, role, password, allowance } = body;
    let was_open = app.is_open();
    let user = app.accounts.add_user(&name, role.unwrap_or(Role::User), password, allowance).await?;
    if was_open && !app.is_open() {
        tracing::info!("there is a user: from now on everybody has to say who they are");
    }
    Ok((StatusCode::CREATED, Json(user)).into_response())
}

/// One user.
#[utoipa::path(get, path = "/users/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, description = "The user", body = UserView), (status = 404, description = "No such user")))]
pub(crate) async fn user(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
) -> Result<Json<UserView>, Failure> {
    Ok(Json(app.accounts.user(&name)?))
}

/// What changes of a user; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChangeBody {
    role: Option<Role>,
    /// Ends the user's sessions.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
    /// False ends the user's sessions and lets no key in.
    enabled: Option<bool>,
    /// All of it; what is left out of it is what the settings say.
    allowance: Option<Allowance>,
}

/// Changes a user.
#[utoipa::path(patch, path = "/users/{name}", tag = "accounts", params(("name" = String, Path)), request_body = UserChangeBody,
    responses((status = 200, description = "The user as they are now", body = UserView),
              (status = 400, description = "Every problem of the body"), (status = 404, description = "No such user")))]
pub(crate) async fn change_user(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
    JsonBody(body): JsonBody<UserChangeBody>,
) -> Result<Json<UserView>, Failure> {
    let UserChangeBody { role, password, enabled, allowance } = body;
    let change = UserChange { role, password, enabled, allowance };
    Ok(Json(app.accounts.change_user(&name, change).await?))
}

/// Takes a user's account and keys away; their tasks stay.
#[utoipa::path(delete, path = "/users/{name}", tag = "accounts", params(("name" = String, Path)),
    responses((status = 200, description = "Removed", body = Done), (status = 404, description = "No such user")))]
pub(crate) async fn remove_user(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
) -> Result<Json<Done>, Failure> {
    app.accounts.remove_user(&name).await?;
    Ok(Json(Done::SUCCESS))
}

/// The caller's keys; an admin sees everybody's.
#[utoipa::path(get, path = "/keys", tag = "accounts",
    responses((status = 200, description = "By id", body = Vec<KeyView>)))]
pub(crate) async fn keys(State(app): State<Arc<App>>, caller: Caller) -> Json<Vec<KeyView>> {
    Json(app.accounts.keys(whose(&caller)))
}

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKeyBody {
    /// Whose; the caller's own unless an admin says otherwise.
    user: Option<String>,
    /// What it is for.
    #[serde(default)]
    label: String,
    /// Unix milliseconds; never, when left out, unless the settings bound how long keys last.
    expires_ms: Option<u64>,
}

/// A key with its text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewKey {
    #[serde(flatten)]
    view: KeyView,
    /// The whole key. It is shown this once.
    key: String,
}

/// Makes a key. Its text is in the answer and nowhere else.
#[utoipa::path(post, path = "/keys", tag = "accounts", request_body = NewKeyBody,
    responses((status = 201, description = "Made", body = NewKey), (status = 400, description = "Every problem of the body"), (status = 404, description = "No such user")))]
pub(crate) async fn add_key(
    State(app): State<Arc<App>>,
    caller: Caller,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Result<Response, Failure> {
    let NewKeyBody { user, label, expires_ms } = body;
    let user = user.unwrap_or_else(|| caller.name.clone());
    if whose(&caller).is_some_and(|own| own != user) {
        return Err(AppError::invalid("user", "user: only an admin makes keys for others").into());
    }
    let (view, key) = app.accounts.add_key(&user, label, expires_ms).await?;
    Ok((StatusCode::CREATED, Json(NewKey { view, key })).into_response())
}

/// Withdraws a key.
#[utoipa::path(delete, path = "/keys/{id}", tag = "accounts", params(("id" = String, Path)),
    responses((status = 200, description = "Withdrawn", body = Done), (status = 404, description = "No such key")))]
pub(crate) async fn remove_key(
    State(app): State<Arc<App>>,
    caller: Caller,
    PathText(id): PathText,
) -> Result<Json<Done>, Failure> {
    app.accounts.remove_key(&id, whose(&caller)).await?;
    Ok(Json(Done::SUCCESS))
}

/// `None` is everybody's.
fn whose(caller: &Caller) -> Option<&str> {
    (caller.role < Role::Admin).then_some(&caller.name)
}

/// How much of the audit log.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditQuery {
    limit: Option<usize>,
}

/// What operators and admins changed, sessions, and names whose password was wrong; the newest lines, oldest first.
#[utoipa::path(get, path = "/audit", tag = "accounts",
    params(("limit" = Option<usize>, Query, description = "Lines, 200 unless said otherwise")),
    responses((status = 200, description = "The newest lines, oldest first", body = Vec<AuditLine>)))]
pub(crate) async fn audit(
    State(app): State<Arc<App>>,
    Parameters(query): Parameters<AuditQuery>,
) -> Result<Json<Vec<AuditLine>>, Failure> {
    let count = query.limit.unwrap_or(200).min(AUDIT_LINES_MAX);
    Ok(Json(app.audit.newest(count).await?))
}
