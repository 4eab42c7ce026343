//! `basic_auth_users`: passwords against their bcrypt hashes, off the event loop and one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};

use bcrypt::HashParts;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_yaml::Value;
use tokio::sync::Semaphore;

use crate::blocking::compute;
use crate::config::Checker;

/// The greatest cost of a hash. One more doubles the time of a check, and this one takes some ten seconds already:
/// as long as Prometheus waits for a scrape.
const GREATEST_COST: u32 = 18;
const LEAST_COST: u32 = 4;

/// Passwords that may wait for their check; those of more requests are not looked at.
const WAITING: usize = 32;

/// Who may ask.
#[derive(Default)]
pub(crate) struct Users(BTreeMap<String, Arc<User>>);

struct User {
    hash: SecretString,
    /// Tells the password that was found right last from any other.
    right: Mutex<Option<u64>>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many others wait for their check.
    Busy,
}

/// The checks under way: one, so that a flood of wrong passwords takes one core, and few that wait for it.
#[derive(Debug)]
pub(crate) struct Checks {
    turn: Arc<Semaphore>,
    places: Semaphore,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(WAITING),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

fn fingerprint(password: &SecretSlice<u8>) -> u64 {
    // Keyed, so that what is remembered of a password is of no use outside this process.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(password.expose_secret())
}

impl Users {
    /// Takes over names and hashes.
    pub(super) fn check(raw: Option<Value>, here: &mut Checker<'_>) -> Self {
        let mut users = BTreeMap::new();
        let entries = match raw {
            None => return Self::default(),
            Some(Value::Mapping(entries)) => entries,
            Some(_) => {
                here.problem(
                    "",
                    "expected users, each with the bcrypt hash of the password",
                );
                return Self::default();
            }
        };
        for (index, (name, hash)) in entries.into_iter().enumerate() {
            let Some(name) = name.as_str() else {
                here.problem(
                    &format!("[{index}]"),
                    "the name of a user must be text: put quotes around it",
                );
                continue;
            };
            // A name that may be a hash in the wrong place is not shown.
            let place = if name.contains(['$', ':', '.'])
                || name.is_empty()
                || name.chars().any(char::is_control)
            {
                format!("[{index}]")
            } else {
                name.to_owned()
            };
            if name.contains(':') {
                here.problem(
                    &place,
                    "the name of a user cannot hold a colon: it ends the name in a request",
                );
                continue;
            }
            match usable(hash.as_str().unwrap_or_default()) {
                Ok(hash) => {
                    let user = User {
                        hash,
                        right: Mutex::default(),
                    };
                    users.insert(name.to_owned(), Arc::new(user));
                }
                Err(error) => here.problem(&place, error),
            }
        }
        Self(users)
    }

    /// Whether everybody may ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over which passwords were found right, of users whose hashes are the same.
    pub(super) fn remember(&self, before: &Self) {
        for (name, user) in &self.0 {
            let same = before
                .0
                .get(name)
                .filter(|before| before.hash.expose_secret() == user.hash.expose_secret());
            if let Some(before) = same {
                *user.right.lock() = *before.right.lock();
            }
        }
    }

    /// The user of this name, or one in the place of a user who does not exist: always the same for the same name,
    /// so that what the check costs does not tell who exists.
    fn find(&self, name: &str) -> Option<(&Arc<User>, bool)> {
        static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        if let Some(user) = self.0.get(name) {
            return Some((user, true));
        }
        let number = u64::try_from(self.0.len()).ok().filter(|n| *n > 0)?;
        let place = usize::try_from(KEYS.hash_one(name) % number).ok()?;
        Some((self.0.values().nth(place)?, false))
    }
}

/// Accepts a hash that can be checked against.
fn usable(hash: &str) -> Result<SecretString, String> {
    let parts = HashParts::from_str(hash).map_err(|_| {
        "expected a bcrypt hash of 60 letters that begins with $2a$, $2b$ or $2y$, such as htpasswd -nBC 10 prints"
    })?;
    let cost = parts.get_cost();
    if !(LEAST_COST..=GREATEST_COST).contains(&cost) {
        return Err(format!(
            "the cost of the hash is {cost}: expected {LEAST_COST} to {GREATEST_COST}; above that a check takes longer than Prometheus waits"
        ));
    }
    Ok(hash.into())
}

impl User {
    fn is_right(&self, password: u64) -> bool {
        *self.right.lock() == Some(password)
    }
}

impl Checks {
    /// Checks a password. One that was found right before is known at once, whatever else is being checked.
    pub(crate) async fn check(
        &self,
        users: &Users,
        name: &str,
        password: SecretSlice<u8>,
    ) -> Verdict {
        let Some((user, exists)) = users.find(name) else {
            return Verdict::Wrong;
        };
        let fingerprint = fingerprint(&password);
        if exists && user.is_right(fingerprint) {
            return Verdict::Right;
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Verdict::Busy;
        };
        let Ok(turn) = self.turn.clone().acquire_owned().await else {
            return Verdict::Busy;
        };
        // It may have been found right while this one waited.
        if exists && user.is_right(fingerprint) {
            return Verdict::Right;
        }
        let user = user.clone();
        let right = compute(move || {
            // Kept to the end of the check, even if nobody waits for it any more.
            let _turn = turn;
            let matches = bcrypt::verify(password.expose_secret(), user.hash.expose_secret());
            let right = matches.unwrap_or(false) && exists;
            if right {
                *user.right.lock() = Some(fingerprint);
            }
            right
        });
        if right.await {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }
}
