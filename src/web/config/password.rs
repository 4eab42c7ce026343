//! `basic_auth_users`: verifies passwords against bcrypt hashes, off the event loop.

mod lane;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use bcrypt::HashParts;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde_yaml::Value;

use crate::invalid::Invalid;
use crate::sanitize::ForLog;
use crate::settings::Validator;
use lane::Lane;

/// Maximum cost of a hash.
///
/// A cost higher by one doubles the time of a check. This cost already takes some ten seconds,
/// which is as long as Prometheus waits for a scrape.
const GREATEST_COST: u32 = 18;
const LEAST_COST: u32 = 4;

/// Maximum cost in the `usual` lane. A check with a higher cost takes seconds, and runs in the
/// `costly` lane.
const USUAL_COST: u32 = 14;

/// Maximum cost of the check for an unknown user: some 0.2 s.
const STAND_IN_COST: u32 = 12;

/// Hash that is checked for an unknown user, without its cost.
///
/// A password that matches it changes nothing: an unknown user is refused.
const STAND_IN: &str = "N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";

/// Users that may send requests.
#[derive(Default)]
pub(crate) struct Users {
    known: BTreeMap<String, Arc<User>>,
    /// Checked in place of an unknown user, so that the time of a check does not reveal which users
    /// exist.
    ///
    /// Its cost is the most common cost among users, at most `STAND_IN_COST`. `None` without users.
    stand_in: Option<Arc<User>>,
}

struct User {
    hash: SecretString,
    cost: u32,
    /// Fingerprint of the last password that was correct.
    right: Mutex<Option<u64>>,
}

/// Result of a password check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The password is correct.
    Right,
    /// The password is wrong, or the user does not exist.
    Wrong,
    /// Too many checks wait, or the check missed its deadline.
    Busy,
}

/// Password checks in progress.
#[derive(Debug)]
pub(crate) struct Checks {
    usual: Arc<Lane>,
    /// For costs above `USUAL_COST`: such a check takes seconds, and would delay all others.
    costly: Arc<Lane>,
}

impl Default for Checks {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            // One core stays free for scrapes.
            usual: Lane::new(cores.saturating_sub(1).max(1)),
            costly: Lane::new(1),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.known.len())
    }
}

fn fingerprint(password: &SecretSlice<u8>) -> u64 {
    // Keyed, so that a stored fingerprint is useless outside this process.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(password.expose_secret())
}

impl Users {
    /// Checks names and hashes, and reports configuration errors.
    pub(super) fn check(raw: Option<Value>, here: &mut Validator<'_>) -> Self {
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
            // The error has a line number. It does not contain the name, which may be a misplaced
            // password.
            let place = format!("[{index}]");
            if name.contains(':') {
                here.problem(
                    &place,
                    "the name of a user cannot hold a colon: it ends the name in a request",
                );
                continue;
            }
            match usable(hash.as_str().unwrap_or_default()) {
                Ok((hash, cost)) => {
                    users.insert(name.to_owned(), Arc::new(User::new(hash, cost)));
                }
                Err(error) => here.problem(&place, error),
            }
        }
        let stand_in = stand_in(users.values().map(|user| user.cost));
        Self {
            known: users,
            stand_in,
        }
    }

    /// Whether requests need no password.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Warns about users whose password check keeps a thread busy for seconds.
    pub(super) fn warn_of_costs(&self) {
        for (name, user) in &self.known {
            if user.cost > USUAL_COST {
                tracing::warn!(
                    user = %ForLog(name),
                    cost = user.cost,
                    "each check of this user's password takes seconds: make the hash anew with a \
                        cost of 10 to 12"
                );
            }
        }
    }

    /// Copies the fingerprints of correct passwords, for users whose hash is unchanged.
    pub(super) fn remember(&self, before: &Self) {
        for (name, user) in &self.known {
            let same = before
                .known
                .get(name)
                .filter(|before| before.hash.expose_secret() == user.hash.expose_secret());
            if let Some(before) = same {
                *user.right.lock() = *before.right.lock();
            }
        }
    }

    /// Returns the user or its stand-in, and whether the user exists.
    fn find(&self, name: &str) -> Option<(&Arc<User>, bool)> {
        let known = self.known.get(name).map(|user| (user, true));
        known.or_else(|| Some((self.stand_in.as_ref()?, false)))
    }
}

/// Creates the stand-in for unknown users, from the costs of the users' hashes.
fn stand_in(costs: impl Iterator<Item = u32>) -> Option<Arc<User>> {
    let mut number = BTreeMap::<u32, usize>::new();
    for cost in costs {
        *number.entry(cost).or_default() += 1;
    }
    let (most, _) = number.into_iter().max_by_key(|(_, number)| *number)?;
    let cost = most.min(STAND_IN_COST);
    let hash = format!("$2y${cost:02}${STAND_IN}");
    Some(Arc::new(User::new(hash.into(), cost)))
}

/// Parses a hash, and returns it with its cost.
///
/// Fails with what is expected if passwords cannot be checked against it.
fn usable(hash: &str) -> Result<(SecretString, u32), Invalid> {
    let parts = HashParts::from_str(hash).map_err(|_| {
        "expected a bcrypt hash of 60 letters that begins with $2a$, $2b$ or $2y$, such as \
            htpasswd -nBC 10 prints"
    })?;
    let cost = parts.get_cost();
    if !(LEAST_COST..=GREATEST_COST).contains(&cost) {
        return Err(format!(
            "the cost of the hash is {cost}: expected {LEAST_COST} to {GREATEST_COST}; above that \
                a check takes longer than Prometheus waits"
        )
        .into());
    }
    Ok((hash.into(), cost))
}

impl User {
    fn new(hash: SecretString, cost: u32) -> Self {
        Self {
            hash,
            cost,
            right: Mutex::default(),
        }
    }

    fn is_right(&self, password: u64) -> bool {
        *self.right.lock() == Some(password)
    }
}

impl Checks {
    /// Checks a password.
    ///
    /// The last correct password of a user is accepted at once, whatever else is being checked.
    pub(crate) async fn check(
        &self,
        users: &Users,
        address: IpAddr,
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
        let lane = if user.cost > USUAL_COST {
            &self.costly
        } else {
            &self.usual
        };
        let Some(permit) = lane.acquire(address).await else {
            return Verdict::Busy;
        };
        // Another request may have verified the same password in the meantime.
        if exists && user.is_right(fingerprint) {
            return Verdict::Right;
        }
        let user = user.clone();
        let check = lane.run(permit, move || {
            let matches = bcrypt::verify(password.expose_secret(), user.hash.expose_secret());
            let right = matches.unwrap_or(false) && exists;
            if right {
                *user.right.lock() = Some(fingerprint);
            }
            right
        });
        match check.await {
            Some(true) => Verdict::Right,
            Some(false) => Verdict::Wrong,
            None => Verdict::Busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_exist_is_checked_at_the_cost_that_most_users_have_up_to_a_usual_one() {
        let cost = |costs: &[u32]| {
            let user = stand_in(costs.iter().copied())?;
            let (_, cost) = usable(user.hash.expose_secret()).unwrap();
            assert_eq!(cost, user.cost);
            Some(cost)
        };
        assert_eq!(cost(&[]), None);
        assert_eq!(cost(&[10]), Some(10));
        assert_eq!(cost(&[4, 10, 10, 12]), Some(10));
        assert_eq!(cost(&[18]), Some(12));
        assert_eq!(cost(&[18, 18, 5]), Some(12));
    }
}
