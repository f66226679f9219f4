//! What was done to the server and by whom: changes by operators and admins, sessions opened, credentials refused.
//! Lines in `audit.jsonl` in the data folder. Drawing is no change; tasks tell who asked for them.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use gesso_store::{Clock, Journal};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::network;
use crate::blocking::blocking;
use crate::error::AppError;

/// One thing done, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct AuditLine {
    /// Unix milliseconds.
    pub(crate) time_ms: u64,
    /// The id of the request: `x-request-id` of its answer.
    pub(crate) request_id: String,
    /// Who did it, or who they said they were.
    pub(crate) who: String,
    /// The address it came from.
    #[schema(value_type = String)]
    pub(crate) from: IpAddr,
    /// Method and path: `DELETE /keys/abcdefghij`.
    pub(crate) what: String,
    /// The status of the answer.
    pub(crate) status: u16,
}

/// The audit log.
pub(crate) struct Audit {
    journal: Journal,
    clock: Arc<dyn Clock>,
    writing: Mutex<()>,
    refusals: DefaultKeyedRateLimiter<IpAddr>,
    sessions: DefaultKeyedRateLimiter<String>,
}

/// Lines that one address can have written in a minute without having any right, so that nobody can push out those that
/// matter.
const REFUSALS: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// The same of sessions that one user opens: nothing else that is noted costs so little.
const SESSIONS: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Addresses and users whose lines are counted, before those that have all of theirs again are let go.
const COUNTED_MAX: usize = 10_000;

impl Audit {
    pub(crate) fn new(journal: Journal, clock: Arc<dyn Clock>) -> Self {
        let refusals = RateLimiter::keyed(Quota::per_minute(REFUSALS));
        let sessions = RateLimiter::keyed(Quota::per_minute(SESSIONS));
        Self { journal, clock, writing: Mutex::default(), refusals, sessions }
    }

    /// [`Audit::note`] for what anybody can bring about: some lines for each address, or network of IPv6, and no more.
    pub(crate) async fn note_refusal(
        self: &Arc<Self>,
        request_id: String,
        who: String,
        from: IpAddr,
        what: String,
        status: u16,
    ) {
        if has_line(&self.refusals, &network(from)) {
            self.note(request_id, who, from, what, status).await;
        }
    }

    /// [`Audit::note`] for a session that was opened: some lines for each user, and no more.
    pub(crate) async fn note_session(
        self: &Arc<Self>,
        request_id: String,
        who: String,
        from: IpAddr,
        what: String,
        status: u16,
    ) {
        if has_line(&self.sessions, &who) {
            self.note(request_id, who, from, what, status).await;
        }
    }

    /// Writes a line before the answer goes out. One that cannot be written is told in the log and stops nothing.
    pub(crate) async fn note(
        self: &Arc<Self>,
        request_id: String,
        who: String,
        from: IpAddr,
        what: String,
        status: u16,
    ) {
        let line = AuditLine { time_ms: self.clock.now_ms(), request_id, who, from, what, status };
        let audit = self.clone();
        // The blocking pool: a file.
        let written = blocking(move || {
            let _one_at_a_time = audit.writing.lock().unwrap_or_else(PoisonError::into_inner);
            audit.journal.append(&line)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit log cannot be written"),
            Err(error) => tracing::error!(%error, "the audit log cannot be written"),
        }
    }

    /// The newest lines, oldest first.
    pub(crate) async fn newest(self: &Arc<Self>, count: usize) -> Result<Vec<AuditLine>, AppError> {
        let audit = self.clone();
        // The blocking pool: two files.
        blocking(move || audit.journal.newest(count))
            .await?
            .map_err(|error| AppError::Internal(format!("the audit log cannot be read: {error}")))
    }
}

/// Takes one of the lines that are left to `key`; whether there was one.
fn has_line<K: Clone + Eq + Hash>(lines: &DefaultKeyedRateLimiter<K>, key: &K) -> bool {
    if lines.len() > COUNTED_MAX {
        lines.retain_recent();
    }
    lines.check_key(key).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gesso_store::testing::ManualClock;

    use super::*;

    #[tokio::test]
    async fn nobody_pushes_out_lines_by_opening_sessions_or_by_being_refused() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::at(&folder.path().join("audit.jsonl"));
        let audit = Arc::new(Audit::new(journal, Arc::new(ManualClock::new(1))));
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // Addresses of one household.
        let of_ipv6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let login = || "POST /login".to_owned();
        for place in 0..100 {
            audit.note_session(String::new(), "ann".into(), from, login(), 200).await;
            audit.note_refusal(String::new(), "ann".into(), from, login(), 401).await;
            audit.note_refusal(String::new(), "eve".into(), of_ipv6(place), login(), 401).await;
        }
        audit.note_session(String::new(), "bob".into(), from, login(), 200).await;
        audit.note(String::new(), "ann".into(), from, "POST /keys".into(), 201).await;
        let lines = audit.newest(1000).await.unwrap();
        let count = |who: &str, status: u16| {
            lines.iter().filter(|line| line.who == who && line.status == status).count()
        };
        for (who, status) in [("ann", 200), ("ann", 401), ("eve", 401)] {
            // A slow machine may have earned one or two more meanwhile.
            assert!((20..30).contains(&count(who, status)), "{who} {status}: {}", count(who, status));
        }
        assert_eq!((count("bob", 200), count("ann", 201)), (1, 1));
    }
}
