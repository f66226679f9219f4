//! Passwords: hashed and compared by Argon2id, a few at a time, and no faster than a person types them wrong.
//!
//! HTTP Basic sends the password with every request, and Argon2 is slow on purpose. What was right is remembered
//! for a few minutes and for the address that it came from, as a hash that is of no use to anybody but this process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::random_text;
use crate::blocking::blocking;
use crate::error::AppError;

/// Each takes 19 MiB.
const AT_ONCE: usize = 2;
/// Tries that one address has for one name, and how many come back in a minute.
const TRIES: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// Tries that one address has for all names together.
const TRIES_FROM_ONE_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
/// Addresses and names whose tries are counted, before those that have all of theirs again are let go.
const COUNTED_MAX: usize = 10_000;
const REMEMBERED: Duration = Duration::from_secs(300);
const REMEMBERED_MAX: usize = 1_000;

/// Why credentials let nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the credentials are wrong, or no longer valid")]
    Wrong,
    #[error("too many wrong passwords; try again in {seconds} seconds")]
    TooMany { seconds: u64 },
}

/// Who tries, and for which name.
type Tries = (IpAddr, String);

pub(super) struct Passwords {
    slots: Semaphore,
    by_name: DefaultKeyedRateLimiter<Tries>,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    /// The hash of what was right, and since when.
    right: Mutex<HashMap<Tries, ([u8; 32], Instant)>>,
    /// Makes those hashes useless elsewhere.
    pepper: String,
    /// Compared with when there is no such user, so that the time an answer takes does not tell.
    nobody: String,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(AT_ONCE),
            by_name: RateLimiter::keyed(Quota::per_minute(TRIES)),
            by_address: RateLimiter::keyed(Quota::per_minute(TRIES_FROM_ONE_ADDRESS)),
            right: Mutex::default(),
            pepper: random_text(43),
            nobody: hashed(&random_text(43)).unwrap_or_default(),
        }
    }
}

impl Passwords {
    pub(super) async fn hash(&self, password: String) -> Result<String, AppError> {
        let _slot = self.slots.acquire().await;
        // The blocking pool: slow on purpose.
        blocking(move || hashed(&password)).await?.map_err(AppError::Internal)
    }

    /// `stored` is what is kept of `name`'s password, if anything.
    pub(super) async fn check(
        &self,
        name: &str,
        password: &str,
        stored: Option<&str>,
        from: IpAddr,
    ) -> Result<(), Refusal> {
        let print = self.print(name, password, stored.unwrap_or_default());
        // Names of any length would fill the memory.
        let tries: Tries = (network(from), name.chars().take(64).collect());
        let is_known = || stored.is_some() && self.is_known(&tries, &print);
        if is_known() {
            return Ok(());
        }
        let _slot = self.slots.acquire().await;
        // A client that begins with many requests at once is told by the first of them.
        if is_known() {
            return Ok(());
        }
        self.count(&tries)?;
        let (given, wanted) = (password.to_owned(), stored.unwrap_or(&self.nobody).to_owned());
        // The blocking pool: slow on purpose.
        let right = blocking(move || matches(&given, &wanted)).await.map_err(|_| Refusal::Wrong)?;
        if !right || stored.is_none() {
            return Err(Refusal::Wrong);
        }
        self.remember(tries, print);
        Ok(())
    }

    /// In the place of the oldest where there are enough: one user may come from as many addresses as there are places, and
    /// whoever is not remembered has a try counted for each request.
    fn remember(&self, tries: Tries, print: [u8; 32]) {
        let mut known = self.lock();
        known.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
        if known.len() >= REMEMBERED_MAX {
            let oldest = known.iter().min_by_key(|(_, (_, since))| *since).map(|(tries, _)| tries.clone());
            if let Some(oldest) = oldest {
                known.remove(&oldest);
            }
        }
        known.insert(tries, (print, Instant::now()));
    }

    /// What was right for this name may be so no longer.
    pub(super) fn forget(&self, name: &str) {
        self.lock().retain(|(_, known), _| known != name);
    }

    /// Takes one of the tries that are left. Where none is, even what was right before has to wait, or whoever guesses on would
    /// hear which guess is right.
    fn count(&self, tries: &Tries) -> Result<(), Refusal> {
        if self.by_name.len() > COUNTED_MAX {
            self.by_name.retain_recent();
            self.by_address.retain_recent();
        }
        let wait = |until: governor::NotUntil<_>| {
            self.lock().remove(tries);
            Refusal::TooMany { seconds: until.wait_time_from(DefaultClock::default().now()).as_secs() + 1 }
        };
        self.by_address.check_key(&tries.0).map_err(wait)?;
        self.by_name.check_key(tries).map_err(wait)
    }

    /// Of another stored password it is another, so that what was right before a change is not after it.
    fn print(&self, name: &str, password: &str, stored: &str) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in [&self.pepper, name, password, stored] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    fn is_known(&self, tries: &Tries, print: &[u8; 32]) -> bool {
        let known = self.lock();
        known
            .get(tries)
            .is_some_and(|(right, since)| since.elapsed() < REMEMBERED && right.ct_eq(print).into())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tries, ([u8; 32], Instant)>> {
        self.right.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One household has a whole /64 of IPv6, and counts as one.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let segments = address.segments();
            IpAddr::from([segments[0], segments[1], segments[2], segments[3], 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// With the parameters that OWASP recommends for Argon2id, which are the library's own: 19 MiB, 2 passes, 1 lane.
fn hashed(password: &str) -> Result<String, String> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| format!("a password could not be hashed: {error}"))
}

fn matches(password: &str, stored: &str) -> bool {
    PasswordHash::new(stored)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_right_last_is_remembered_however_many_were_before() {
        let passwords = Passwords::default();
        let from = |place: usize| IpAddr::from([10, 0, (place / 256) as u8, (place % 256) as u8]);
        for place in 0..=REMEMBERED_MAX {
            passwords.remember((from(place), "ann".into()), [7; 32]);
        }
        let bob = (from(0), "bob".to_owned());
        passwords.remember(bob.clone(), [8; 32]);
        assert!(passwords.is_known(&bob, &[8; 32]));
        assert!(passwords.is_known(&(from(REMEMBERED_MAX), "ann".into()), &[7; 32]));
        assert!(!passwords.is_known(&(from(0), "ann".into()), &[7; 32]));
        assert_eq!(passwords.lock().len(), REMEMBERED_MAX);
    }
}
