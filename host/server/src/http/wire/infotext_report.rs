//! What plugins did to a request's infotext before the request became a task: beside the fields of its stored body, until the
//! task tells of it.

use gesso_plugin_host::ChainReport;
use serde_json::{Map, Value, json};

/// No client's field ever has this name, for a body holds those of the table only.
const FIELD: &str = "infotext_report";

pub(crate) fn write(body: &mut Map<String, Value>, report: &ChainReport) {
    if *report != ChainReport::default() {
        body.insert(FIELD.into(), json!(report));
    }
}

/// Takes it out of the body.
pub(crate) fn take(body: &mut Map<String, Value>) -> ChainReport {
    let report = body.remove(FIELD).map(serde_json::from_value);
    report.and_then(Result::ok).unwrap_or_default()
}
