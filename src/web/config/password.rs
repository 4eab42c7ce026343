//! `basic_auth_users`: passwords against their bcrypt hashes, off the event loop.

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

use crate::sanitize::ForLog;
use crate::settings::Validator;
use lane::Lane;

/// The greatest cost of a hash. One more doubles the time of a check, and this one takes some ten seconds already:
/// as long as Prometheus waits for a scrape.
const GREATEST_COST: u32 = 18;
const LEAST_COST: u32 = 4;

/// A check of a greater cost takes seconds. Such checks are made apart from the others.
const USUAL_COST: u32 = 14;

/// The greatest cost of the check of a user who does not exist: some 0.2 s.
const STAND_IN_COST: u32 = 12;

/// What stands in for the hash of a user who does not exist, after its cost. No password is known for it.
const STAND_IN: &str = "N8pRXTHrUUXdQoMBdn2abO.8M4hPzsZ1VdvNw4CZdLjsbfuFteG.6";

/// Who may ask.
#[derive(Default)]
pub(crate) struct Users {
    known: BTreeMap<String, Arc<User>>,
    /// In the place of a user who does not exist, so that what the check costs does not tell who exists: with the cost that most
    /// users have. `None` if nobody is named.
    stand_in: Option<Arc<User>>,
}

struct User {
    hash: SecretString,
    cost: u32,
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

/// The checks under way.
#[derive(Debug)]
pub(crate) struct Checks {
    usual: Arc<Lane>,
    /// For costs above the usual: one such check takes seconds, and would hold up all others.
    costly: Arc<Lane>,
}

impl Default for Checks {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            // A core is left for the scrapes.
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
    // Keyed, so that what is remembered of a password is of no use outside this process.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(password.expose_secret())
}

impl Users {
    /// Takes over names and hashes.
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
            // Its line tells which it is. The name is not shown: a password may have been put in its place.
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

    /// Whether everybody may ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Warns of users whose every new password keeps a thread busy for seconds.
    pub(super) fn warn_of_costs(&self) {
        for (name, user) in &self.known {
            if user.cost > USUAL_COST {
                tracing::warn!(
                    user = %ForLog(name),
                    cost = user.cost,
                    "each check of this user's password takes seconds: make the hash anew with a cost of 10 to 12"
                );
            }
        }
    }

    /// Takes over which passwords were found right, of users whose hashes are the same.
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

    /// The user of this name, or who stands in for it; and whether it exists.
    fn find(&self, name: &str) -> Option<(&Arc<User>, bool)> {
        let known = self.known.get(name).map(|user| (user, true));
        known.or_else(|| Some((self.stand_in.as_ref()?, false)))
    }
}

/// Who stands in for users who do not exist, where users have hashes of these costs.
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

/// Accepts a hash that can be checked against.
fn usable(hash: &str) -> Result<(SecretString, u32), String> {
    let parts = HashParts::from_str(hash).map_err(|_| {
        "expected a bcrypt hash of 60 letters that begins with $2a$, $2b$ or $2y$, such as htpasswd -nBC 10 prints"
    })?;
    let cost = parts.get_cost();
    if !(LEAST_COST..=GREATEST_COST).contains(&cost) {
        return Err(format!(
            "the cost of the hash is {cost}: expected {LEAST_COST} to {GREATEST_COST}; above that a check takes longer than Prometheus waits"
        ));
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
    /// Checks a password. One that was found right before is known at once, whatever else is being checked.
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
        let Some(turn) = lane.acquire(address).await else {
            return Verdict::Busy;
        };
        // It may have been found right while this one waited.
        if exists && user.is_right(fingerprint) {
            return Verdict::Right;
        }
        let user = user.clone();
        let check = lane.run(turn, move || {
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
