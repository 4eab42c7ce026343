//! State of a target, and the filter that selects targets by it.

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
    /// Parses the query of a URL. Any other parameter is for the page's script.
    pub(super) fn parse(query: &str) -> Self {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let value = pairs.into_iter().find(|(name, _)| name == "state");
        match value.as_ref().map(|(_, value)| value.as_str()) {
            Some("!up") => Self::AllButUp,
            None | Some("") => Self::All,
            Some(value) => {
                let health = Health::ALL.into_iter().find(|health| health.key() == value);
                health.map_or(Self::Unknown, Self::Only)
            }
        }
    }

    pub(super) fn selects_all(self) -> bool {
        matches!(self, Self::All | Self::Unknown)
    }

    pub(super) fn selects(self, health: Health) -> bool {
        match self {
            Self::All | Self::Unknown => true,
            Self::AllButUp => health != Health::Up,
            Self::Only(only) => health == only,
        }
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
            assert_eq!(StateFilter::parse(query), filter, "{query}");
        }
    }
}
