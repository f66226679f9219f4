//! The HTTP surface: the router page, the two dialects' routes, and their wire types.

pub(crate) mod access;
pub(crate) mod calls;
pub(crate) mod connections;
pub(crate) mod error;
pub(crate) mod extract;
pub(crate) mod openapi;
pub(crate) mod passed_on;
pub(crate) mod proxies;
pub(crate) mod request_id;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod task_answer;
pub(crate) mod task_view;
pub(crate) mod wire;
