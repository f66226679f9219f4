//! Why a call could not be done, in the words of the contract. Every fallible function of the SDK returns it, and
//! a hook returns it to the host.

use crate::bindings::request_hook::gesso::plugin::types;

/// Why a call could not be done. The texts are sentences for the person whose request it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An argument is wrong; the text names it and says what would be right.
    #[error("{0}")]
    InvalidInput(String),
    /// The admin has not granted this; the text names the grant.
    #[error("{0}")]
    NotPermitted(String),
    /// A budget is spent: bytes, handles, calls or log lines.
    #[error("{0}")]
    LimitExceeded(String),
    /// The request this call belongs to was cancelled.
    #[error("The request was cancelled.")]
    Cancelled,
    /// The time for this call is over.
    #[error("The time for this call is over.")]
    DeadlineExceeded,
    /// Something the call needs is not there now; trying later may help.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<types::Fault> for Fault {
    fn from(fault: types::Fault) -> Self {
        match fault {
            types::Fault::InvalidInput(text) => Self::InvalidInput(text),
            types::Fault::NotPermitted(text) => Self::NotPermitted(text),
            types::Fault::LimitExceeded(text) => Self::LimitExceeded(text),
            types::Fault::Cancelled => Self::Cancelled,
            types::Fault::DeadlineExceeded => Self::DeadlineExceeded,
            types::Fault::Unavailable(text) => Self::Unavailable(text),
            types::Fault::Other(text) => Self::Other(text),
        }
    }
}

impl From<Fault> for types::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::InvalidInput(text) => Self::InvalidInput(text),
            Fault::NotPermitted(text) => Self::NotPermitted(text),
            Fault::LimitExceeded(text) => Self::LimitExceeded(text),
            Fault::Cancelled => Self::Cancelled,
            Fault::DeadlineExceeded => Self::DeadlineExceeded,
            Fault::Unavailable(text) => Self::Unavailable(text),
            Fault::Other(text) => Self::Other(text),
        }
    }
}
