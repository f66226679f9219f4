//! The accounts as they are stored, and as they are shown. A stored field never changes its meaning: a new one has
//! a default that means what was there before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Caller, Role};

/// What one owner may use up. `None` is what the settings say, 0 is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Allowance {
    /// Requests that draw, in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_minute: Option<u32>,
    /// Tasks that wait or run at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tasks_at_once: Option<u32>,
    /// Pictures asked for on one day, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pictures_per_day: Option<u32>,
    /// Tasks that are pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pinned_tasks: Option<u32>,
}

/// Everything that is kept of accounts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    /// From the first user on, whatever becomes of them.
    pub(super) had_users: bool,
    pub(super) users: BTreeMap<String, UserRecord>,
    /// By id, the part of a key's text that is no secret.
    pub(super) keys: BTreeMap<String, KeyRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UserRecord {
    pub(super) role: Role,
    /// In the PHC string format; `None` lets nobody in by password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<String>,
    pub(super) created_ms: u64,
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) allowance: Allowance,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) user: String,
    #[serde(default)]
    pub(super) label: String,
    /// Of the key's whole text, lower-case hex.
    pub(super) sha256: String,
    pub(super) created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_ms: Option<u64>,
}

/// A user, without what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct UserView {
    /// What they sign in by; it is in the paths of their pictures.
    name: String,
    /// What they may do.
    role: Role,
    /// False lets neither their password nor their keys in.
    enabled: bool,
    /// Whether a password lets them in, or keys alone.
    has_password: bool,
    /// Unix milliseconds.
    created_ms: u64,
    /// What they may use up.
    allowance: Allowance,
}

/// A key, without what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// The part of its text behind `gesso_`.
    id: String,
    /// Whose it is.
    user: String,
    /// What it is for, in their words.
    label: String,
    /// Unix milliseconds.
    created_ms: u64,
    /// Unix milliseconds; null for a key that does not end.
    #[schema(required)]
    expires_ms: Option<u64>,
}

impl Book {
    /// What is kept of a user's password.
    pub(super) fn password_of(&self, name: &str) -> Option<&str> {
        self.users.get(name)?.password.as_deref()
    }

    pub(super) fn caller(&self, name: &str) -> Option<Caller> {
        let user = self.users.get(name).filter(|user| user.enabled)?;
        Some(Caller { name: name.into(), role: user.role, allowance: user.allowance })
    }
}

impl UserView {
    pub(super) fn of(name: &str, user: &UserRecord) -> Self {
        Self {
            name: name.into(),
            role: user.role,
            enabled: user.enabled,
            has_password: user.password.is_some(),
            created_ms: user.created_ms,
            allowance: user.allowance,
        }
    }
}

impl KeyView {
    pub(super) fn of(id: &str, key: &KeyRecord) -> Self {
        Self {
            id: id.into(),
            user: key.user.clone(),
            label: key.label.clone(),
            created_ms: key.created_ms,
            expires_ms: key.expires_ms,
        }
    }
}
