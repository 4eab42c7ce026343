//! Which part of the page is asked for, by the labels of what it shows.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use crate::sanitize::ForLog;

/// Alternatives for the value of one label; none of them leaves it open.
type LabelValues = BTreeSet<String>;

/// A part of the page. [`default`](Self::default) is the whole.
///
/// The parts of all accounts, each by its system and its name, and [`Own`](Self::Own) are together the whole page, and no two
/// of them have a series in common. Whatever comes to the page has to keep this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// What is of no account: the process, and what all accounts share.
    Exporter,
    /// What carries each of the labels that are narrowed, with one of its values.
    Of(LabelFilter),
}

/// Values of the labels that say whose a series is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFilter {
    system: LabelValues,
    account: LabelValues,
    target: LabelValues,
}

impl Default for Selector {
    fn default() -> Self {
        Self::Of(LabelFilter::default())
    }
}

impl Selector {
    /// Reads the query of a URL, as HTML forms and Go write it. Fails with a sentence: whatever is not understood would
    /// else widen the part, and a scraper of many parts would store everything many times.
    pub fn parse(query: &str) -> Result<Self, String> {
        let (mut own, mut labels) = (false, LabelFilter::default());
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|error| problem(&error.to_string()))?;
        for (name, value) in pairs {
            let names = match name.as_str() {
                "own" if value == "1" => {
                    own = true;
                    continue;
                }
                "own" => return Err(problem("own has no value but 1")),
                "system" => &mut labels.system,
                "account" => &mut labels.account,
                "target" => &mut labels.target,
                _ => {
                    return Err(problem(&format!("there is no parameter {}", ForLog(&name))));
                }
            };
            if value.is_empty() {
                return Err(problem(&format!("{name} is empty")));
            }
            names.insert(value);
        }
        match own {
            false => Ok(Self::Of(labels)),
            true if labels == LabelFilter::default() => Ok(Self::Exporter),
            true => Err(problem("own goes with no other parameter")),
        }
    }

    /// Whether it is the whole page.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it has what carries none of the labels.
    pub(super) fn has_process(&self) -> bool {
        *self == Self::Exporter || self.is_whole()
    }

    /// The systems of which it has what carries no other label, if it is narrowed to systems alone.
    pub(super) fn systems(&self) -> Option<&LabelValues> {
        match self {
            Self::Of(LabelFilter {
                system,
                account,
                target,
            }) if account.is_empty() && target.is_empty() => Some(system),
            _ => None,
        }
    }

    /// Whether it has what accounts show that is of no target.
    pub(super) fn has_accounts(&self) -> bool {
        matches!(self, Self::Of(labels) if labels.target.is_empty())
    }

    /// Whether it has what a target of this label shows, if it has its account.
    pub(super) fn has_target(&self, label: &str) -> bool {
        matches!(self, Self::Of(LabelFilter { target, .. }) if target.is_empty() || target.contains(label))
    }

    /// Does this with what is kept of each account that it has something of.
    pub(super) fn each_account<T, K>(
        &self,
        systems: &mut BTreeMap<K, BTreeMap<String, T>>,
        mut with: impl FnMut(&mut T),
    ) where
        K: Borrow<str> + Ord,
    {
        if let Self::Of(labels) = self {
            each(systems, &labels.system, |accounts| {
                each(accounts, &labels.account, &mut with);
            });
        }
    }

    /// What is kept of the accounts that it has something of, found without a look at the others.
    pub(super) fn accounts<'a, T, K>(
        &'a self,
        systems: &'a BTreeMap<K, BTreeMap<String, T>>,
    ) -> impl Iterator<Item = &'a T> + Clone
    where
        K: Borrow<str> + Ord,
    {
        let labels = match self {
            Self::Exporter => None,
            Self::Of(labels) => Some(labels),
        };
        labels.into_iter().flat_map(
            |LabelFilter {
                 system, account, ..
             }| {
                named(systems, system).flat_map(|accounts| named(accounts, account))
            },
        )
    }
}

/// The same, to change.
fn each<K, V>(map: &mut BTreeMap<K, V>, names: &LabelValues, mut with: impl FnMut(&mut V))
where
    K: Borrow<str> + Ord,
{
    if names.is_empty() {
        map.values_mut().for_each(with);
    } else {
        for name in names {
            map.get_mut(name.as_str()).map(&mut with);
        }
    }
}

/// The values of these names; of all, if there are none.
fn named<'a, K, V>(
    map: &'a BTreeMap<K, V>,
    names: &'a LabelValues,
) -> impl Iterator<Item = &'a V> + Clone
where
    K: Borrow<str> + Ord,
{
    let all = names.is_empty().then(|| map.values());
    let some = names.iter().filter_map(|name| map.get(name.as_str()));
    all.into_iter().flatten().chain(some)
}

fn problem(what: &str) -> String {
    format!(
        "The query cannot be answered: {what}. Expected system, account and target, each as often as needed, or own=1 alone.\n"
    )
}
