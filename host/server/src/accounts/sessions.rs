//! Sessions that a password opened: in memory, by the hash of their token. Each lasts an hour from its last use, and from its
//! beginning no longer than the settings say.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hex_sha256;

/// As the serverless API has it: sliding.
const IDLE_MS: u64 = 3_600_000;
const HOUR_MS: u64 = 3_600_000;
/// Of one user, and of all; beyond these the one that was used longest ago ends.
const SESSIONS_OF_ONE_MAX: usize = 50;
const SESSIONS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Sessions {
    /// However much a session is used.
    life_ms_max: u64,
    open: Mutex<HashMap<String, Session>>,
}

#[derive(Debug)]
struct Session {
    user: String,
    expires_ms: u64,
    /// What its use does not move.
    ends_ms: u64,
}

impl Sessions {
    /// Sessions that last `hours_max` at most; 0 is no bound.
    pub(super) fn new(hours_max: u64) -> Self {
        let life_ms_max = if hours_max == 0 { u64::MAX } else { hours_max.saturating_mul(HOUR_MS) };
        Self { life_ms_max, open: Mutex::default() }
    }

    pub(super) fn open(&self, token: &str, user: &str, now_ms: u64) {
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.expires_ms > now_ms);
        // One's own give way first, so that nobody pushes out others'.
        let mine = sessions.iter().filter(|(_, session)| session.user == user);
        let oldest = |(_, session): &(&String, &Session)| session.expires_ms;
        let gives_way = if mine.clone().count() >= SESSIONS_OF_ONE_MAX {
            mine.min_by_key(oldest)
        } else if sessions.len() >= SESSIONS_MAX {
            sessions.iter().min_by_key(oldest)
        } else {
            None
        };
        if let Some(token) = gives_way.map(|(token, _)| token.clone()) {
            sessions.remove(&token);
        }
        let ends_ms = now_ms.saturating_add(self.life_ms_max);
        let session = Session { user: user.into(), expires_ms: ends_ms.min(now_ms + IDLE_MS), ends_ms };
        sessions.insert(hex_sha256(token), session);
    }

    /// Whose session it is; using it makes it last, to its end.
    pub(super) fn user(&self, token: &str, now_ms: u64) -> Option<String> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&hex_sha256(token)).filter(|session| session.expires_ms > now_ms)?;
        session.expires_ms = session.ends_ms.min(now_ms + IDLE_MS);
        Some(session.user.clone())
    }

    pub(super) fn close(&self, token: &str) {
        self.lock().remove(&hex_sha256(token));
    }

    pub(super) fn close_all(&self, user: &str) {
        self.lock().retain(|_, session| session.user != user);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
