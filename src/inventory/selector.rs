//! Selection of a part of the page by label values, as requested in a URL query.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use super::entry::{AccountEntry, Entries};
use crate::invalid::Invalid;
use crate::sanitize::ForLog;

/// Accepted values of one label; empty if the label is not restricted.
type LabelValues = BTreeSet<String>;

/// Part of the page. [`default`](Self::default) selects the whole page.
///
/// The parts of all accounts, each by its system and name, and [`Exporter`](Self::Exporter) add up
/// to the whole page. No two of them share a series. Every new metric has to keep this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Series that belong to no account: the process, and what all accounts share.
    Exporter,
    /// Series that have each restricted label with one of its accepted values.
    Of(LabelFilter),
}

/// Accepted values of the labels `system`, `account` and `target`.
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
    /// Parses the query of a URL, encoded as HTML forms and Go encode it.
    ///
    /// The error is a sentence. An unknown parameter is an error: ignored, it would widen the part,
    /// and a scraper of many parts would store everything many times.
    pub fn parse(query: &str) -> Result<Self, Invalid> {
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

    /// Returns whether this is the whole page.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether series without any of the three labels are selected.
    pub(super) fn has_process(&self) -> bool {
        *self == Self::Exporter || self.is_whole()
    }

    /// Returns the selected systems; `None` if accounts or targets are restricted.
    ///
    /// Series that have only the `system` label belong to these systems.
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

    /// Returns whether series of accounts are selected that have no `target` label.
    pub(super) fn has_accounts(&self) -> bool {
        matches!(self, Self::Of(labels) if labels.target.is_empty())
    }

    /// Returns whether a target with this label is selected, if its account is.
    pub(super) fn has_target(&self, label: &str) -> bool {
        matches!(self, Self::Of(LabelFilter { target, .. }) if target.is_empty() || target.contains(label))
    }

    /// Calls the closure with each selected account.
    pub(super) fn each_account(
        &self,
        systems: &mut Entries,
        mut with: impl FnMut(&mut AccountEntry),
    ) {
        if let Self::Of(labels) = self {
            each(systems, &labels.system, |accounts| {
                each(accounts, &labels.account, &mut with);
            });
        }
    }

    /// Returns the selected accounts, without iterating over the others.
    pub(super) fn accounts<'a>(
        &'a self,
        systems: &'a Entries,
    ) -> impl Iterator<Item = &'a AccountEntry> + Clone {
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

/// Calls the closure with the values of these names, or with all values if `names` is empty.
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

/// Returns the values of these names, or all values if `names` is empty.
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

fn problem(what: &str) -> Invalid {
    format!(
        "The query cannot be answered: {what}. Expected system, account and target, each as often \
            as needed, or own=1 alone.\n"
    )
    .into()
}
