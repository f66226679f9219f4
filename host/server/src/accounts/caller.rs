//! Who asks: a name, which owns tasks, and a role, which says what they may do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ADMIN, ANYONE, Allowance};

/// What somebody may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Look: lists, options, their own tasks.
    Reader,
    /// Draw, and stop what is their own.
    User,
    /// See and stop everybody's tasks, read metrics, load and unload models.
    Operator,
    /// Plugins, users and keys.
    Admin,
}

impl Role {
    const ALL: [Self; 4] = [Self::Reader, Self::User, Self::Operator, Self::Admin];

    /// As on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// This role and those whose rights it has too.
    pub(crate) fn included(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |role| *role <= self)
    }
}

/// One who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) allowance: Allowance,
}

impl Caller {
    /// Who asks where no credentials are wanted: everything but what is the admin's.
    pub(crate) fn anyone() -> Self {
        Self { name: ANYONE.into(), role: Role::Operator, allowance: Allowance::default() }
    }

    /// Who holds the admin key.
    pub(crate) fn admin() -> Self {
        Self { name: ADMIN.into(), role: Role::Admin, allowance: Allowance::default() }
    }

    /// Whether what belongs to `owner` is theirs to see.
    pub(crate) fn may_see(&self, owner: &str) -> bool {
        self.role >= Role::Operator || self.name == owner
    }

    /// Whose things they see: their own, or everybody's.
    pub(crate) fn sees(&self) -> Option<&str> {
        (self.role < Role::Operator).then_some(&self.name)
    }
}
