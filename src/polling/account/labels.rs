//! Labels of targets, unique within an account.

use std::collections::BTreeMap;

use crate::model::listing::cut;
use crate::vendors::account::TargetConfig;

/// Returns the label of each target by its id: the configured name, the vendor's name or the id.
///
/// The first of these that exists is used. A name that several targets share is followed by the id.
pub(super) fn labels(
    targets: &[TargetConfig],
    names: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let name = |target: &TargetConfig| {
        target
            .name
            .clone()
            .or_else(|| names.get(&target.id).cloned())
            .unwrap_or_else(|| target.id.clone())
    };
    let mut labels: BTreeMap<String, String> = targets
        .iter()
        .map(|t| (t.id.clone(), cut(&name(t)).into()))
        .collect();
    loop {
        let mut uses: BTreeMap<&str, u32> = BTreeMap::new();
        for label in labels.values() {
            *uses.entry(label).or_default() += 1;
        }
        let shared: Vec<_> = labels
            .iter()
            .filter(|(_, label)| uses[label.as_str()] > 1)
            .map(|(id, _)| id.clone())
            .collect();
        if shared.is_empty() {
            return labels;
        }
        // The loop ends: a label with its id collides only with a name that had that form from the
        // start.
        for id in shared {
            if let Some(label) = labels.get_mut(&id) {
                *label = cut(&format!("{label} ({id})")).into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_shared_name_is_followed_by_the_id_for_both() {
        let named = |id: &str, name: &str| TargetConfig {
            id: id.into(),
            name: Some(name.into()),
            expect: Vec::new(),
        };
        let targets = [
            named("1", "same"),
            named("2", "same"),
            named("3", "other"),
            named("4", "same (1)"),
            TargetConfig::found("5"),
        ];
        let labels = labels(
            &targets,
            &BTreeMap::from([("5".to_owned(), "other".to_owned())]),
        );
        let unique: BTreeSet<_> = labels.values().collect();
        assert_eq!(unique.len(), targets.len(), "{labels:?}");
        assert_eq!(labels["2"], "same (2)");
        assert_eq!(labels["3"], "other (3)");
        assert_eq!(labels["5"], "other (5)");
    }
}
