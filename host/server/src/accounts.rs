//! Who may use the server: users with a role each, their API keys, and the sessions that a password opens. Knows
//! nothing of HTTP; `http/access.rs` reads credentials and decides which route wants which role.
//!
//! Kept in one document of the data folder. Passwords are stored as Argon2id (RFC 9106), keys as SHA-256: they are
//! random enough that nothing slower is needed. Sessions live in memory and end with the process.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use gesso_core::hex::hex;
use gesso_store::keys::check_owner;
use gesso_store::{Clock, Documents};
use rand::RngExt;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::blocking::blocking;
use crate::error::AppError;

mod book;
mod caller;
mod passwords;
mod sessions;

pub(crate) use book::{Allowance, KeyView, UserView};
use book::{Book, KeyRecord, UserRecord};
pub(crate) use caller::{Caller, Role};
use passwords::Passwords;
pub(crate) use passwords::{Refusal, network};
use sessions::Sessions;

/// Who asks where nobody has to say who they are, and whose the tasks of earlier versions are.
pub(crate) const ANYONE: &str = "default";
/// Whom the admin key stands for.
pub(crate) const ADMIN: &str = "admin";

const DOCUMENT: &str = "accounts";
const PASSWORD_CHARS_MIN: usize = 12;
const PASSWORD_CHARS_MAX: usize = 256;
const USERS_MAX: usize = 10_000;
const KEYS_OF_ONE_MAX: usize = 100;
const LABEL_CHARS_MAX: usize = 100;
const DAY_MS: u64 = 86_400_000;
/// How much a client's clock may be ahead of this one: it says when a key ends, and counts the days from its own time.
const CLOCKS_APART_MS: u64 = 60_000;

/// What API keys begin with, so that scanners for leaked secrets can find them.
const KEY_PREFIX: &str = "gesso_";
const KEY_ID_CHARS: usize = 10;
/// 43 letters and digits: 256 bits.
const SECRET_CHARS: usize = 43;

/// Everybody who has an account.
pub(crate) struct Accounts {
    documents: Documents,
    clock: Arc<dyn Clock>,
    admin_key: String,
    /// 0 is no bound.
    key_days_max: u64,
    book: RwLock<Arc<Book>>,
    /// Held while the book is changed and written, so that changes come one after the other.
    changing: Mutex<()>,
    passwords: Passwords,
    sessions: Sessions,
}

/// A change of a user: what is `None` stays.
#[derive(Debug, Default)]
pub(crate) struct UserChange {
    pub(crate) role: Option<Role>,
    pub(crate) password: Option<String>,
    pub(crate) enabled: Option<bool>,
    pub(crate) allowance: Option<Allowance>,
}

impl Accounts {
    /// Reads the accounts of a data folder; blocks. Keys that are made last `key_days_max` days at most, sessions
    /// `session_hours_max` hours; 0 is no bound.
    pub(crate) fn open(
        documents: Documents,
        admin_key: String,
        key_days_max: u64,
        session_hours_max: u64,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let book = documents.read::<Book>(DOCUMENT)?.unwrap_or_default();
        Ok(Self {
            documents,
            clock,
            admin_key,
            key_days_max,
            book: RwLock::new(Arc::new(book)),
            changing: Mutex::default(),
            passwords: Passwords::default(),
            sessions: Sessions::new(session_hours_max),
        })
    }

    /// Whether nobody has ever been given an account: once there was one, its leaving opens nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let book = self.book();
        !book.had_users && book.users.is_empty()
    }

    /// Whom a key, a session's token or the admin key stands for.
    pub(crate) fn by_secret(&self, secret: &str) -> Result<Caller, Refusal> {
        if same(secret, &self.admin_key) {
            return Ok(Caller::admin());
        }
        let (book, now_ms) = (self.book(), self.clock.now_ms());
        let name = match key_id(secret) {
            Some(id) => {
                let key = book.keys.get(id).ok_or(Refusal::Wrong)?;
                let expired = key.expires_ms.is_some_and(|expires| expires <= now_ms);
                if expired || !same(&hex_sha256(secret), &key.sha256) {
                    return Err(Refusal::Wrong);
                }
                key.user.clone()
            }
            None => self.sessions.user(secret, now_ms).ok_or(Refusal::Wrong)?,
        };
        book.caller(&name).ok_or(Refusal::Wrong)
    }

    /// Who has this name now; `None` for whoever has no account, or one that was withdrawn.
    pub(crate) fn named(&self, name: &str) -> Option<Caller> {
        if name == ADMIN { Some(Caller::admin()) } else { self.book().caller(name) }
    }

    /// Whom a name and a password, or a name and one of its keys, stand for. `from` is who tries, for the count of
    /// failures.
    pub(crate) async fn by_password(
        &self,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<Caller, Refusal> {
        if let Ok(caller) = self.by_secret(password) {
            return if caller.name == name { Ok(caller) } else { Err(Refusal::Wrong) };
        }
        self.by_stored_password(name, password, from).await
    }

    /// Whom a name and its password stand for, and nothing else in the password's place.
    async fn by_stored_password(&self, name: &str, password: &str, from: IpAddr) -> Result<Caller, Refusal> {
        let book = self.book();
        let user = book.users.get(name);
        let stored = user.filter(|user| user.enabled).and_then(|user| user.password.as_deref());
        self.passwords.check(name, password, stored, from).await?;
        book.caller(name).ok_or(Refusal::Wrong)
    }

    /// Opens a session that ends when it has not been used for an hour, or has lasted as long as one may, and returns its token.
    pub(crate) async fn login(&self, name: &str, password: &str, from: IpAddr) -> Result<String, Refusal> {
        if name == ADMIN && same(password, &self.admin_key) {
            // The admin key is no account that could be withdrawn: it is its own token.
            return Ok(self.admin_key.clone());
        }
        let before = self.book();
        // A key opens no session: it would outlive the key.
        let caller = self.by_stored_password(name, password, from).await?;
        let token = random_text(64);
        self.sessions.open(&token, &caller.name, self.clock.now_ms());
        // The password may have been changed while it was compared, and its sessions ended before this one began.
        if self.book().password_of(name) != before.password_of(name) {
            self.sessions.close(&token);
            return Err(Refusal::Wrong);
        }
        Ok(token)
    }

    /// Ends a session, if the text is the token of one.
    pub(crate) fn logout(&self, token: &str) {
        self.sessions.close(token);
    }

    pub(crate) fn users(&self) -> Vec<UserView> {
        self.book().users.iter().map(|(name, user)| UserView::of(name, user)).collect()
    }

    pub(crate) fn user(&self, name: &str) -> Result<UserView, AppError> {
        let book = self.book();
        book.users.get(name).map(|user| UserView::of(name, user)).ok_or_else(|| no_user(name))
    }

    /// Adds a user. Without a password only keys let them in.
    pub(crate) async fn add_user(
        self: &Arc<Self>,
        name: &str,
        role: Role,
        password: Option<String>,
        allowance: Allowance,
    ) -> Result<UserView, AppError> {
        check_owner(name).map_err(|error| AppError::invalid("name", error.to_string()))?;
        if [ANYONE, ADMIN].contains(&name) {
            let message = format!("name: {name:?} belongs to the server; choose another");
            return Err(AppError::invalid("name", message));
        }
        let hash = match password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let created_ms = self.clock.now_ms();
        let named = name.to_owned();
        self.change(move |book| {
            if book.users.contains_key(&named) {
                return Err(AppError::Conflict(format!("there is a user {named:?} already")));
            }
            if book.users.len() >= USERS_MAX {
                return Err(AppError::Conflict(format!("there are {USERS_MAX} users already")));
            }
            let user = UserRecord { role, password: hash, created_ms, enabled: true, allowance };
            let view = UserView::of(&named, &user);
            book.users.insert(named, user);
            book.had_users = true;
            Ok(view)
        })
        .await
    }

    /// A new password and a withdrawn account end the user's sessions.
    pub(crate) async fn change_user(
        self: &Arc<Self>,
        name: &str,
        change: UserChange,
    ) -> Result<UserView, AppError> {
        let UserChange { role, password, enabled, allowance } = change;
        let hash = match password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let (named, accounts) = (name.to_owned(), self.clone());
        let ends_sessions = hash.is_some() || enabled == Some(false);
        self.change_and(
            move |book| {
                let user = book.users.get_mut(&named).ok_or_else(|| no_user(&named))?;
                user.role = role.unwrap_or(user.role);
                user.enabled = enabled.unwrap_or(user.enabled);
                user.allowance = allowance.unwrap_or(user.allowance);
                user.password = hash.or(user.password.take());
                Ok((UserView::of(&named, user), named))
            },
            move |(view, named)| {
                accounts.passwords.forget(&named);
                if ends_sessions {
                    accounts.sessions.close_all(&named);
                }
                view
            },
        )
        .await
    }

    /// Takes a user's account and keys away. Their tasks stay, for operators to see.
    pub(crate) async fn remove_user(self: &Arc<Self>, name: &str) -> Result<(), AppError> {
        let (named, accounts) = (name.to_owned(), self.clone());
        self.change_and(
            move |book| {
                book.users.remove(&named).ok_or_else(|| no_user(&named))?;
                book.keys.retain(|_, key| key.user != named);
                Ok(named)
            },
            move |named| {
                accounts.passwords.forget(&named);
                accounts.sessions.close_all(&named);
            },
        )
        .await
    }

    /// The keys of one user, or of everybody.
    pub(crate) fn keys(&self, of: Option<&str>) -> Vec<KeyView> {
        let book = self.book();
        let keys = book.keys.iter().filter(|(_, key)| of.is_none_or(|user| user == key.user));
        keys.map(|(id, key)| KeyView::of(id, key)).collect()
    }

    /// Makes a key for a user and returns its text, which is not to be had again.
    pub(crate) async fn add_key(
        self: &Arc<Self>,
        user: &str,
        label: String,
        expires_ms: Option<u64>,
    ) -> Result<(KeyView, String), AppError> {
        if label.chars().count() > LABEL_CHARS_MAX || label.contains(char::is_control) {
            let message = format!("label: at most {LABEL_CHARS_MAX} characters, none of them a control one");
            return Err(AppError::invalid("label", message));
        }
        let created_ms = self.clock.now_ms();
        self.check_end(created_ms, expires_ms)?;
        let id = random_text(KEY_ID_CHARS);
        let text = format!("{KEY_PREFIX}{id}_{}", random_text(SECRET_CHARS));
        let key = KeyRecord { user: user.into(), label, sha256: hex_sha256(&text), created_ms, expires_ms };
        let view = self.change(move |book| {
            if !book.users.contains_key(&key.user) {
                return Err(no_user(&key.user));
            }
            if book.keys.values().filter(|known| known.user == key.user).count() >= KEYS_OF_ONE_MAX {
                let message = format!("{} has {KEYS_OF_ONE_MAX} keys already; withdraw some", key.user);
                return Err(AppError::Conflict(message));
            }
            let view = KeyView::of(&id, &key);
            book.keys.insert(id, key);
            Ok(view)
        });
        Ok((view.await?, text))
    }

    fn check_end(&self, created_ms: u64, expires_ms: Option<u64>) -> Result<(), AppError> {
        if expires_ms.is_some_and(|expires| expires <= created_ms) {
            return Err(AppError::invalid("expires_ms", "expires_ms lies in the past"));
        }
        let days_max = self.key_days_max;
        let last_ms = created_ms.saturating_add(days_max.saturating_mul(DAY_MS));
        let ends = expires_ms.is_some_and(|expires| expires <= last_ms.saturating_add(CLOCKS_APART_MS));
        if days_max == 0 || ends {
            return Ok(());
        }
        let message = format!(
            "expires_ms: a key lasts {days_max} days at most here (api_key_days_max in the settings); name a time up to {last_ms}"
        );
        Err(AppError::invalid("expires_ms", message))
    }

    /// Withdraws a key; `of` is whose it has to be.
    pub(crate) async fn remove_key(self: &Arc<Self>, id: &str, of: Option<&str>) -> Result<(), AppError> {
        let (id, of) = (id.to_owned(), of.map(ToOwned::to_owned));
        self.change(move |book| {
            let mine = |key: &KeyRecord| of.as_ref().is_none_or(|user| *user == key.user);
            if !book.keys.get(&id).is_some_and(mine) {
                return Err(AppError::NotFound(format!("there is no key {id:?}")));
            }
            book.keys.remove(&id);
            Ok(())
        })
        .await
    }

    fn book(&self) -> Arc<Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the book, durably, before anybody sees it changed.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        how: impl FnOnce(&mut Book) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        self.change_and(how, |done| done).await
    }

    /// The same, and does what follows from it even where nobody waits any more.
    async fn change_and<T, U: Send + 'static>(
        self: &Arc<Self>,
        how: impl FnOnce(&mut Book) -> Result<T, AppError> + Send + 'static,
        then: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, AppError> {
        let accounts = self.clone();
        // The blocking pool: a file.
        blocking(move || {
            let _one_at_a_time = accounts.changing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut book = Book::clone(&accounts.book());
            let done = how(&mut book)?;
            accounts
                .documents
                .write(DOCUMENT, &book)
                .map_err(|error| AppError::Internal(format!("the accounts cannot be written: {error}")))?;
            *accounts.book.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
            Ok(then(done))
        })
        .await?
    }

    async fn hash(&self, password: String) -> Result<String, AppError> {
        let length = password.chars().count();
        if !(PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&length) {
            let message = format!(
                "password: {length} characters; it must have between {PASSWORD_CHARS_MIN} and {PASSWORD_CHARS_MAX}"
            );
            return Err(AppError::invalid("password", message));
        }
        self.passwords.hash(password).await
    }
}

fn no_user(name: &str) -> AppError {
    AppError::NotFound(format!("there is no user {name:?}"))
}

/// The id in the text of a key, when it has a key's form.
fn key_id(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    (id.len() == KEY_ID_CHARS && secret.len() == SECRET_CHARS).then_some(id)
}

fn hex_sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Takes as long whatever differs.
fn same(given: &str, wanted: &str) -> bool {
    given.as_bytes().ct_eq(wanted.as_bytes()).into()
}

fn random_text(length: usize) -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(length).map(char::from).collect()
}

#[cfg(test)]
mod tests;
