//! What the document says of the web UI's routes as tasks (`http/calls.rs`): the headers that make a task of a request, and
//! the answer to whoever does not wait for its end. Which routes may be tasks is the router's to say; an end-to-end test
//! asks it.

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response};
use utoipa::{Modify, ToSchema};

use super::operations;
use crate::http::passed_on::is_web_ui;
use crate::http::wire::task::Accepted;

/// Operations of the web UI's dialect that end a task that runs: as tasks they would wait behind it.
const AT_ONCE: [(&str, &str); 2] = [("post", "/sdapi/v1/interrupt"), ("post", "/sdapi/v1/skip")];

/// The queue extension's own routes are about tasks, and no tasks themselves.
const ABOUT_TASKS: &str = "/agent-scheduler/";

const HEADERS: [(&str, &str); 4] = [
    ("Request-Type", "sync (default); async answers 200 with the task at once"),
    ("Prefer", "respond-async: 202 with the task at once"),
    ("Task-Flag", "true keeps the answer as a task's result"),
    ("taskId", "The task id to use"),
];

const JSON: &str = "application/json";

pub(super) struct CallsAsTasks;

impl Modify for CallsAsTasks {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if !is_web_ui(path) || path.starts_with(ABOUT_TASKS) {
                continue;
            }
            for (method, operation) in operations(item) {
                if !AT_ONCE.contains(&(method, path.as_str())) {
                    may_be_a_task(operation);
                }
            }
        }
    }
}

fn may_be_a_task(operation: &mut Operation) {
    let header = |(name, text): (&str, &str)| {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(text))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        RefOr::T(parameter.build())
    };
    operation.parameters.get_or_insert_default().extend(HEADERS.map(header));
    let responses = &mut operation.responses.responses;
    responses.insert("202".into(), task().into());
    // With `Request-Type: async` the status is what it is for whoever waits.
    match responses.get_mut("200") {
        Some(RefOr::T(response)) => or_a_task(response),
        _ => drop(responses.insert("200".into(), task().into())),
    }
}

fn accepted() -> Ref {
    Ref::from_schema_name(Accepted::name())
}

fn task() -> Response {
    let content = ContentBuilder::new().schema(Some(accepted())).build();
    let description = "The task, with its links, for who does not wait";
    ResponseBuilder::new().description(description).content(JSON, content).build()
}

fn or_a_task(response: &mut Response) {
    if let Some(RefOr::T(content)) = response.content.get_mut(JSON)
        && let Some(own) = content.schema.take()
    {
        content.schema = Some(AnyOfBuilder::new().item(own).item(accepted()).into());
    }
}
