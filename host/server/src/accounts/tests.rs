//! Accounts on a folder of their own, with a clock that is moved by hand.

use std::time::Duration;

use gesso_store::testing::ManualClock;

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const PASSWORD: &str = "correct horse battery";

struct Bench {
    folder: tempfile::TempDir,
    clock: ManualClock,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::new(1_000_000) }
    }

    fn open(&self) -> Arc<Accounts> {
        self.open_with(0)
    }

    /// Whose keys last so many days at most.
    fn open_with(&self, key_days_max: u64) -> Arc<Accounts> {
        let (documents, clock) = (Documents::new(self.folder.path()), Arc::new(self.clock.clone()));
        Arc::new(Accounts::open(documents, "the-admin-key-0123".into(), key_days_max, 12, clock).unwrap())
    }
}

async fn with_ann(accounts: &Arc<Accounts>) {
    accounts.add_user("ann", Role::User, Some(PASSWORD.into()), Allowance::default()).await.unwrap();
}

#[tokio::test]
async fn users_and_keys_outlive_the_process_and_no_secret_is_stored() {
    let bench = Bench::new();
    let accounts = bench.open();
    assert!(accounts.is_empty());
    with_ann(&accounts).await;
    let (_, key) = accounts.add_key("ann", "laptop".into(), None).await.unwrap();
    let again = bench.open();
    assert_eq!(again.by_secret(&key).unwrap().name, "ann");
    assert_eq!(again.by_password("ann", PASSWORD, HERE).await.unwrap().role, Role::User);
    let stored = std::fs::read_to_string(bench.folder.path().join("accounts.json")).unwrap();
    assert!(stored.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert!(!stored.contains(&key[20..]) && !stored.contains(PASSWORD), "{stored}");
}

#[tokio::test]
async fn a_key_ends_when_it_expires_is_withdrawn_or_its_user_goes() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let key = async |expires| accounts.add_key("ann", String::new(), expires).await.unwrap().1;
    let short = key(Some(1_000_500)).await;
    assert!(accounts.by_secret(&short).is_ok());
    bench.clock.advance(Duration::from_millis(500));
    assert_eq!(accounts.by_secret(&short), Err(Refusal::Wrong));
    let (withdrawn, of_user) = (key(None).await, key(None).await);
    let id = key_id(&withdrawn).unwrap();
    assert!(matches!(accounts.remove_key(id, Some("bob")).await, Err(AppError::NotFound(_))));
    accounts.remove_key(id, Some("ann")).await.unwrap();
    assert_eq!(accounts.by_secret(&withdrawn), Err(Refusal::Wrong));
    let disabled = UserChange { enabled: Some(false), ..UserChange::default() };
    accounts.change_user("ann", disabled).await.unwrap();
    assert_eq!(accounts.by_secret(&of_user), Err(Refusal::Wrong));
    accounts.remove_user("ann").await.unwrap();
    assert!(accounts.keys(None).is_empty());
}

#[tokio::test]
async fn keys_last_as_long_as_the_settings_allow_and_those_that_are_there_stay() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let (_, endless) = accounts.add_key("ann", String::new(), None).await.unwrap();
    let accounts = bench.open_with(2);
    let last_ms = 1_000_000 + 2 * DAY_MS;
    let refused = async |expires| {
        let made = accounts.add_key("ann", String::new(), expires).await;
        made.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for expires in [None, Some(last_ms + DAY_MS), Some(u64::MAX)] {
        let message = refused(expires).await;
        assert!(message.starts_with("expires_ms: a key lasts 2 days at most"), "{expires:?}: {message}");
        assert!(message.ends_with(&format!("up to {last_ms}")), "{message}");
    }
    assert_eq!(refused(Some(last_ms)).await, "");
    assert_eq!(refused(Some(last_ms + CLOCKS_APART_MS)).await, "", "of a clock that is ahead");
    assert_eq!(refused(Some(1)).await, "expires_ms lies in the past");
    assert!(accounts.by_secret(&endless).is_ok());
}

#[tokio::test]
async fn a_key_with_one_letter_changed_opens_nothing() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let (_, key) = accounts.add_key("ann", String::new(), None).await.unwrap();
    for place in 0..key.len() {
        let mut other = key.clone().into_bytes();
        other[place] = if other[place] == b'x' { b'y' } else { b'x' };
        assert_eq!(accounts.by_secret(&String::from_utf8(other).unwrap()), Err(Refusal::Wrong), "{place}");
    }
    assert_eq!(accounts.by_secret(""), Err(Refusal::Wrong));
    assert_eq!(accounts.by_secret("the-admin-key-0123").unwrap().role, Role::Admin);
}

#[tokio::test]
async fn a_session_lasts_an_hour_from_its_last_use_and_ends_with_a_new_password() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let (_, key) = accounts.add_key("ann", String::new(), None).await.unwrap();
    assert_eq!(
        accounts.login("ann", &key, HERE).await,
        Err(Refusal::Wrong),
        "a session would outlive the key"
    );
    let token = accounts.login("ann", PASSWORD, HERE).await.unwrap();
    assert_eq!(accounts.login("ann", &token, HERE).await, Err(Refusal::Wrong));
    for _ in 0..3 {
        bench.clock.advance(Duration::from_secs(3_000));
        assert_eq!(accounts.by_secret(&token).unwrap().name, "ann");
    }
    bench.clock.advance(Duration::from_secs(3_600));
    assert_eq!(accounts.by_secret(&token), Err(Refusal::Wrong));
    let token = accounts.login("ann", PASSWORD, HERE).await.unwrap();
    let change = UserChange { password: Some("another long password".into()), ..UserChange::default() };
    accounts.change_user("ann", change).await.unwrap();
    assert_eq!(accounts.by_secret(&token), Err(Refusal::Wrong));
    // Not even what was right a moment ago.
    assert_eq!(accounts.by_password("ann", PASSWORD, HERE).await, Err(Refusal::Wrong));
    let token = accounts.login("ann", "another long password", HERE).await.unwrap();
    accounts.logout(&token);
    assert_eq!(accounts.by_secret(&token), Err(Refusal::Wrong));
}

#[tokio::test]
async fn a_session_that_is_used_on_and_on_ends_when_it_has_lasted_as_long_as_one_may() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let token = accounts.login("ann", PASSWORD, HERE).await.unwrap();
    for _ in 0..23 {
        bench.clock.advance(Duration::from_secs(1_800));
        assert!(accounts.by_secret(&token).is_ok());
    }
    bench.clock.advance(Duration::from_secs(1_799));
    assert!(accounts.by_secret(&token).is_ok());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(accounts.by_secret(&token), Err(Refusal::Wrong));
    // Without a bound its use alone counts.
    let sessions = Sessions::new(0);
    sessions.open("token", "ann", 0);
    for now_ms in (0..40 * DAY_MS).step_by(3_000_000) {
        assert!(sessions.user("token", now_ms).is_some());
    }
}

#[tokio::test]
async fn wrong_passwords_run_out_for_one_address_and_not_for_others() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(accounts.by_password("ann", "a wrong password", HERE).await.unwrap_err());
    }
    assert_eq!(answers[9], Refusal::Wrong);
    assert!(matches!(answers[11], Refusal::TooMany { seconds: 1.. }), "{answers:?}");
    // Even the right one has to wait, or the count would tell.
    assert!(matches!(accounts.by_password("ann", PASSWORD, HERE).await, Err(Refusal::TooMany { .. })));
    assert!(accounts.by_password("ann", PASSWORD, ELSEWHERE).await.is_ok());
}

#[tokio::test]
async fn a_right_password_may_be_sent_with_every_request() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    for _ in 0..200 {
        assert!(accounts.by_password("ann", PASSWORD, HERE).await.is_ok());
    }
    assert_eq!(accounts.by_password("nobody", PASSWORD, HERE).await, Err(Refusal::Wrong));
}

#[tokio::test]
async fn a_user_who_has_just_signed_in_is_guessed_no_faster_than_others() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    // She is known from now on, and nobody has a hash computed for her.
    assert!(accounts.by_password("ann", PASSWORD, HERE).await.is_ok());
    for from in [ELSEWHERE, HERE] {
        while accounts.by_password("ann", "a wrong password", from).await == Err(Refusal::Wrong) {}
        let guessed = accounts.by_password("ann", PASSWORD, from).await;
        assert!(matches!(guessed, Err(Refusal::TooMany { .. })), "{from}: {guessed:?}");
        if from == ELSEWHERE {
            assert!(
                accounts.by_password("ann", PASSWORD, HERE).await.is_ok(),
                "who guesses elsewhere ends it here"
            );
        }
    }
}

#[tokio::test]
async fn many_first_requests_at_once_do_not_use_up_the_tries() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let asked = (0..40).map(|_| accounts.by_password("ann", PASSWORD, HERE));
    for answer in futures::future::join_all(asked).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test]
async fn names_of_the_server_short_passwords_and_doubles_are_refused_by_field() {
    let bench = Bench::new();
    let accounts = bench.open();
    with_ann(&accounts).await;
    let add = async |name: &str, password: &str| {
        let added = accounts.add_user(name, Role::User, Some(password.into()), Allowance::default());
        added.await.unwrap_err().to_string()
    };
    assert!(add("admin", PASSWORD).await.starts_with("name"));
    assert!(add("../x", PASSWORD).await.contains("a-z"));
    assert!(add("bob", "short").await.starts_with("password: 5 characters"));
    assert!(add("ann", PASSWORD).await.contains("already"));
    let label = "x".repeat(101);
    assert!(accounts.add_key("ann", label, None).await.unwrap_err().to_string().starts_with("label"));
    assert!(accounts.add_key("bob", String::new(), None).await.is_err());
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one_and_mapped_ones_as_ipv4() {
    let parse = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(passwords::network(parse("2001:db8:1:2:3::4")), passwords::network(parse("2001:db8:1:2::9")));
    assert_eq!(passwords::network(parse("::ffff:10.0.0.1")), ELSEWHERE);
}
