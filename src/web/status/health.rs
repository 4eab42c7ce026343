//! State of a target, and the filter that selects targets by it.

use super::targets::TargetPath;
use crate::model::state::TargetState;

/// State of a target. The page sorts targets by it, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// The listing is too old, and is no longer served.
    Stale,
    /// The last poll failed.
    Failing,
    /// No poll has finished yet.
    Waiting,
    /// The listing comes from the state directory.
    Restored,
    /// The last poll produced a listing.
    Up,
}

impl Health {
    pub(super) const ALL: [Self; 5] = [
        Self::Stale,
        Self::Failing,
        Self::Waiting,
        Self::Restored,
        Self::Up,
    ];

    pub(super) fn of(state: &TargetState, fresh: bool) -> Self {
        let failed = state
            .last_attempt
            .as_ref()
            .map(|attempt| attempt.error.is_some());
        match failed {
            _ if state.last_listing.is_some() && !fresh => Self::Stale,
            Some(true) => Self::Failing,
            _ if state.restored => Self::Restored,
            Some(false) => Self::Up,
            None => Self::Waiting,
        }
    }

    /// Key in the page's filter and style sheet.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Restored => "restored",
            Self::Up => "up",
        }
    }

    /// Text on the page.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Waiting => "not polled yet",
            _ => self.key(),
        }
    }

    /// Position in the order of states.
    pub(super) const fn rank(self) -> usize {
        self as usize
    }

    /// Whether an operator has to do something.
    pub(super) const fn is_problem(self) -> bool {
        matches!(self, Self::Stale | Self::Failing)
    }
}

/// States that the page shows, as the parameter `state` of its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateFilter {
    All,
    AllButUp,
    Only(Health),
    /// The address names a state that does not exist. All are shown.
    Unknown,
}

impl StateFilter {
    fn of(value: &str) -> Self {
        match value {
            "" => Self::All,
            "!up" => Self::AllButUp,
            _ => {
                let health = Health::ALL.into_iter().find(|health| health.key() == value);
                health.map_or(Self::Unknown, Self::Only)
            }
        }
    }

    pub(super) fn selects_all(self) -> bool {
        matches!(self, Self::All | Self::Unknown)
    }

    fn selects(self, health: Health) -> bool {
        match self {
            Self::All | Self::Unknown => true,
            Self::AllButUp => health != Health::Up,
            Self::Only(only) => health == only,
        }
    }
}

/// Targets that the page shows at first, by the parameters `state` and `q` of its URL.
///
/// Scripts then apply `q` to all text of a row, and not only to its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetFilter {
    pub(super) state: StateFilter,
    /// Text that system, account and target must contain, in lower case.
    text: String,
}

impl TargetFilter {
    /// Parses the query of a URL. Any other parameter is for the page's script.
    pub(super) fn parse(query: &str) -> Self {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let value = |name| {
            let pair = pairs.iter().find(|(known, _)| known == name);
            pair.map_or("", |(_, value)| value.as_str())
        };
        Self {
            state: StateFilter::of(value("state")),
            text: value("q").trim().to_lowercase(),
        }
    }

    pub(super) fn selects_all(&self) -> bool {
        self.state.selects_all() && self.text.is_empty()
    }

    pub(super) fn selects(&self, health: Health, place: TargetPath<'_>) -> bool {
        let TargetPath {
            system,
            account,
            target,
        } = place;
        let names = || format!("{account} {} {target}", system.name).to_lowercase();
        self.state.selects(health) && (self.text.is_empty() || names().contains(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_selects_a_state() {
        for (query, filter) in [
            ("", StateFilter::All),
            ("q=x&state=failing", StateFilter::Only(Health::Failing)),
            ("state=%21up", StateFilter::AllButUp),
            ("state=nonsense", StateFilter::Unknown),
            ("state", StateFilter::All),
        ] {
            assert_eq!(TargetFilter::parse(query).state, filter, "{query}");
        }
    }
}
