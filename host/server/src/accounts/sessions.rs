//! Sessions that a password opened: in memory, by the hash of their token, each an hour from its last use.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hex_sha256;

/// As the serverless API has it: sliding.
const LIFE_MS: u64 = 3_600_000;
/// Beyond these the one that was used longest ago ends.
const SESSIONS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Session>>);

#[derive(Debug)]
struct Session {
    user: String,
    expires_ms: u64,
}

impl Sessions {
    pub(super) fn open(&self, token: &str, user: &str, now_ms: u64) {
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.expires_ms > now_ms);
        if sessions.len() >= SESSIONS_MAX
            && let Some(oldest) = sessions.iter().min_by_key(|(_, session)| session.expires_ms)
        {
            let oldest = oldest.0.clone();
            sessions.remove(&oldest);
        }
        let session = Session { user: user.into(), expires_ms: now_ms + LIFE_MS };
        sessions.insert(hex_sha256(token), session);
    }

    /// Whose session it is; using it makes it last.
    pub(super) fn user(&self, token: &str, now_ms: u64) -> Option<String> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&hex_sha256(token)).filter(|session| session.expires_ms > now_ms)?;
        session.expires_ms = now_ms + LIFE_MS;
        Some(session.user.clone())
    }

    pub(super) fn close(&self, token: &str) {
        self.lock().remove(&hex_sha256(token));
    }

    pub(super) fn close_all(&self, user: &str) {
        self.lock().retain(|_, session| session.user != user);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
