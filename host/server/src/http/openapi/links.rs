//! Names of the operations, and links from an answer to what can be asked next. Programs that explore an API, such as
//! schemathesis, follow these. Every one is by an operation's name and fills its one parameter of the path.

use utoipa::Modify;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{RefOr, Response};

use super::{DRAWING, operations};

/// Names each operation by its method and path: handlers of different routes may have the same name.
pub(super) struct Names;

impl Modify for Names {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                operation.operation_id = Some(name_of(method, path));
            }
        }
    }
}

/// `get_tasks_id_result` of `GET /tasks/{id}/result`.
fn name_of(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |name, word| name + "_" + word)
}

/// Operations on one thing: how each is called in a link, its method and its path.
type Operations = &'static [(&'static str, &'static str, &'static str)];

const ON_A_TASK: Operations = &[
    ("task", "get", "/tasks/{id}"),
    ("result", "get", "/tasks/{id}/result"),
    ("progress", "get", "/tasks/{id}/progress"),
    ("cancellation", "post", "/tasks/{id}/cancellation"),
    ("retry", "post", "/tasks/{id}/retry"),
    ("removal", "delete", "/tasks/{id}"),
];

/// An answer, what it leads to, and where the answer or its request says which.
struct Source {
    method: &'static str,
    path: &'static str,
    status: &'static str,
    to: Operations,
    parameter: &'static str,
    value: &'static str,
}

const SOURCES: [Source; 6] = [
    Source {
        method: "post",
        path: "/models",
        status: "200",
        to: &[
            ("model", "get", "/models/{model_name}"),
            ("change", "put", "/models/{model_name}"),
            ("removal", "delete", "/models/{model_name}"),
        ],
        parameter: "model_name",
        value: "$request.body#/name",
    },
    Source {
        method: "post",
        path: "/tasks/{id}/cancellation",
        status: "200",
        to: &[("task", "get", "/tasks/{id}"), ("result", "get", "/tasks/{id}/result")],
        parameter: "id",
        value: "$request.path.id",
    },
    Source {
        method: "post",
        path: "/tasks/{id}/retry",
        status: "200",
        to: ON_A_TASK,
        parameter: "id",
        value: "$request.path.id",
    },
    Source {
        method: "post",
        path: "/users",
        status: "201",
        to: &[
            ("user", "get", "/users/{name}"),
            ("change", "patch", "/users/{name}"),
            ("removal", "delete", "/users/{name}"),
        ],
        parameter: "name",
        value: "$response.body#/name",
    },
    Source {
        method: "post",
        path: "/keys",
        status: "201",
        to: &[("removal", "delete", "/keys/{id}")],
        parameter: "id",
        value: "$response.body#/id",
    },
    Source {
        method: "post",
        path: "/plugins",
        status: "201",
        to: &[
            ("plugin", "get", "/plugins/{id}"),
            ("configuration", "patch", "/plugins/{id}"),
            ("grants", "put", "/plugins/{id}/grants"),
            ("logs", "get", "/plugins/{id}/logs"),
            ("history", "get", "/plugins/{id}/history"),
            ("rollback", "post", "/plugins/{id}/rollback"),
            ("removal", "delete", "/plugins/{id}"),
        ],
        parameter: "id",
        value: "$response.body#/id",
    },
];

pub(super) struct Links;

impl Modify for Links {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                for (status, response) in &mut operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    // A 202 is a task's, whatever the route; only drawings are always tasks.
                    if status == "202" || status == "200" && DRAWING.contains(&path.as_str()) {
                        link(response, ON_A_TASK, "id", "$response.body#/taskId");
                    }
                    for from in &SOURCES {
                        if (from.method, from.path, from.status) == (method, path.as_str(), status.as_str()) {
                            link(response, from.to, from.parameter, from.value);
                        }
                    }
                }
            }
        }
    }
}

fn link(response: &mut Response, to: Operations, parameter: &str, value: &str) {
    for (name, method, path) in to {
        let link = LinkBuilder::new().operation_id(name_of(method, path)).parameter(parameter, value).build();
        response.links.insert((*name).to_owned(), RefOr::T(link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_by_method_and_path() {
        assert_eq!(name_of("get", "/tasks/{id}/result"), "get_tasks_id_result");
        assert_eq!(name_of("post", "/sdapi/v1/extra-single-image"), "post_sdapi_v1_extra_single_image");
    }
}
