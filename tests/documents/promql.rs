//! Static check of expressions in rules: the series that they use, and the labels that a result can
//! have.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::MetricType;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
    parse,
};

use super::SYSTEMS;
use crate::metrics::described;
use crate::model::error::Reason;

/// Label names.
pub(super) type Labels = BTreeSet<String>;

/// Labels that a scrape adds.
const OF_SCRAPES: [&str; 3] = ["job", "instance", "pod"];
/// Functions that are meaningful for counters only.
const OF_COUNTERS: [&str; 4] = ["rate", "irate", "increase", "resets"];

pub(super) fn labels<'a>(names: impl IntoIterator<Item = &'a str>) -> Labels {
    names.into_iter().map(str::to_owned).collect()
}

/// Series that exist: metrics of the code, series that Prometheus itself writes, and recording
/// rules.
pub(super) struct Series {
    /// By name: the labels, and whether the metric is a counter.
    known: BTreeMap<String, (Labels, bool)>,
    /// By label: the values that the code can set.
    values: BTreeMap<&'static str, Labels>,
}

impl Series {
    pub(super) fn new() -> Self {
        let mut known = BTreeMap::new();
        for metric in described::all() {
            let all = labels(OF_SCRAPES)
                .into_iter()
                .chain(metric.labels)
                .collect();
            let counter = metric.kind == MetricType::COUNTER;
            known.insert(metric.name, (all, counter));
        }
        known.insert("up".to_owned(), (labels(OF_SCRAPES), false));
        let alerts = ["alertname", "alertstate", "severity"];
        let alerts = labels(alerts.into_iter().chain(OF_SCRAPES));
        known.insert("ALERTS".to_owned(), (alerts, false));

        let pairs = || SYSTEMS.iter().flat_map(|system| system.zero_series);
        let kinds = pairs().map(|(kind, _)| *kind).chain(["other"]);
        let statuses = pairs().map(|(_, status)| *status).chain(["other"]);
        let values = BTreeMap::from([
            ("system", labels(SYSTEMS.iter().map(|system| system.name))),
            ("connection_type", labels(kinds)),
            ("status", labels(statuses)),
            ("reason", labels(Reason::ALL.map(Reason::label))),
            ("kind", labels(["configured", "effective"])),
            ("encoding", labels(["identity", "gzip"])),
        ]);
        Self { known, values }
    }

    /// Adds the series of a recording rule.
    pub(super) fn record(&mut self, name: &str, of: Labels) {
        self.known.insert(name.to_owned(), (of, false));
    }

    /// Returns the labels that the result of an expression can have.
    ///
    /// Every series in it must exist, with the labels and the label values that are selected.
    /// Operands that are matched must have the same labels.
    pub(super) fn of(&self, text: &str) -> Result<Labels, String> {
        self.expression(&parse(text)?)
    }

    fn expression(&self, expression: &Expr) -> Result<Labels, String> {
        match expression {
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            Expr::Unary(unary) => self.expression(&unary.expr),
            Expr::Paren(inner) => self.expression(&inner.expr),
            Expr::Subquery(inner) => self.expression(&inner.expr),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(range) => self.selector(&range.vs),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
            Expr::Extension(_) => Err("an extension of the language".to_owned()),
        }
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Labels, String> {
        let matchers = &selector.matchers.matchers;
        let by_name = matchers.iter().find(|matcher| matcher.name == "__name__");
        let names: Vec<_> = match (&selector.name, by_name) {
            (Some(name), _) => self.known.get_key_value(name).into_iter().collect(),
            (
                None,
                Some(Matcher {
                    op: MatchOp::Re(regex),
                    ..
                }),
            ) => {
                let matched = self.known.iter();
                matched.filter(|(name, _)| regex.is_match(name)).collect()
            }
            (None, _) => Vec::new(),
        };
        if names.is_empty() {
            return Err(format!("{selector}: there is no such metric"));
        }
        let all: Labels = names
            .iter()
            .flat_map(|(_, (labels, _))| labels.clone())
            .collect();
        for matcher in matchers.iter().filter(|matcher| matcher.name != "__name__") {
            has(&all, [&matcher.name], &selector.to_string())?;
            let Some(values) = self.values.get(matcher.name.as_str()) else {
                continue;
            };
            let regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
            let asked = matcher.value.split(|c| regex && c == '|');
            if let Some(value) = asked.into_iter().find(|value| !values.contains(*value)) {
                return Err(format!("{selector}: {} is never {value:?}", matcher.name));
            }
        }
        Ok(all)
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Labels, String> {
        let inner = self.expression(&aggregate.expr)?;
        let shown = aggregate.to_string();
        let mut kept = match &aggregate.modifier {
            _ if ["topk", "bottomk"].contains(&aggregate.op.to_string().as_str()) => inner,
            None => Labels::new(),
            Some(LabelModifier::Include(by)) => {
                has(&inner, &by.labels, &shown)?;
                labels(by.labels.iter().map(String::as_str))
            }
            Some(LabelModifier::Exclude(without)) => {
                has(&inner, &without.labels, &shown)?;
                &inner - &labels(without.labels.iter().map(String::as_str))
            }
        };
        if let Some(Expr::StringLiteral(label)) = aggregate.param.as_deref() {
            kept.insert(label.val.clone());
        }
        Ok(kept)
    }

    fn call(&self, call: &Call) -> Result<Labels, String> {
        let name = call.func.name;
        let mut all = Labels::new();
        for argument in &call.args.args {
            all.extend(self.expression(argument)?);
            if let Expr::MatrixSelector(range) = &**argument {
                let metric = range.vs.name.as_deref().unwrap_or_default();
                let counter = self.known.get(metric).is_some_and(|(_, counter)| *counter);
                if OF_COUNTERS.contains(&name) != counter
                    && (counter || OF_COUNTERS.contains(&name))
                {
                    return Err(format!(
                        "{call}: {metric} is {}a counter",
                        if counter { "" } else { "not " }
                    ));
                }
            }
        }
        Ok(if name.starts_with("absent") {
            Labels::new()
        } else {
            all
        })
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Labels, String> {
        let [left, right] = [&binary.lhs, &binary.rhs].map(|side| self.expression(side));
        let (left, right) = (left?, right?);
        // With a scalar operand there is no vector matching.
        if is_number(&binary.lhs) || is_number(&binary.rhs) {
            return Ok(&left | &right);
        }
        let shown = binary.to_string();
        let modifier = binary
            .modifier
            .as_ref()
            .and_then(|modifier| modifier.matching.as_ref());
        let [of_left, of_right] = match modifier {
            Some(LabelModifier::Include(on)) => {
                has(&left, &on.labels, &shown)?;
                has(&right, &on.labels, &shown)?;
                [Labels::new(), Labels::new()]
            }
            Some(LabelModifier::Exclude(ignored)) => {
                has(&(&left | &right), &ignored.labels, &shown)?;
                let ignored = labels(ignored.labels.iter().map(String::as_str));
                [&left - &ignored, &right - &ignored]
            }
            None => [left.clone(), right.clone()],
        };
        // The operands of `or` need not match.
        let operator = binary.op.to_string();
        if of_left != of_right && operator != "or" {
            return Err(format!("{shown}: {of_left:?} never match {of_right:?}"));
        }
        Ok(match operator.as_str() {
            "or" => &left | &right,
            "and" | "unless" => left,
            _ => match binary.modifier.as_ref().map(|modifier| &modifier.card) {
                Some(VectorMatchCardinality::ManyToOne(copied)) => {
                    &left | &labels(copied.labels.iter().map(String::as_str))
                }
                Some(VectorMatchCardinality::OneToMany(copied)) => {
                    &right | &labels(copied.labels.iter().map(String::as_str))
                }
                _ => &left & &right,
            },
        })
    }
}

/// Returns whether the expression is a scalar, independent of all series.
fn is_number(expression: &Expr) -> bool {
    match expression {
        Expr::NumberLiteral(_) => true,
        Expr::Paren(inner) => is_number(&inner.expr),
        Expr::Unary(unary) => is_number(&unary.expr),
        Expr::Binary(binary) => is_number(&binary.lhs) && is_number(&binary.rhs),
        Expr::Call(call) => call.func.name == "time",
        _ => false,
    }
}

fn has<S: AsRef<str>>(
    there: &Labels,
    asked: impl IntoIterator<Item = S>,
    shown: &str,
) -> Result<(), String> {
    for label in asked {
        let label = label.as_ref();
        if !there.contains(label) {
            return Err(format!("{shown}: there is no label {label}"));
        }
    }
    Ok(())
}

#[test]
fn expressions_that_can_never_mean_anything_are_told() {
    let series = Series::new();
    for (text, said) in [
        ("sum(", "unclosed left parenthesis"),
        ("saas_connection", "no such metric"),
        ("saas_connections{kind=\"oauth\"}", "no label kind"),
        (
            "saas_connections{status=\"Connected\"}",
            "never \"Connected\"",
        ),
        (
            "connections_exporter_target_failing{reason=~\"timeout|tsl\"}",
            "never \"tsl\"",
        ),
        (
            "sum by (connection) (saas_connections)",
            "no label connection",
        ),
        ("sum without (reason) (saas_connections)", "no label reason"),
        ("increase(saas_connections[1h])", "not a counter"),
        (
            "max_over_time(connections_exporter_polls_total[1h])",
            "is a counter",
        ),
        (
            "saas_connection_connected and saas_connections",
            "never match",
        ),
        (
            "saas_connection_connected unless on (status) saas_connections",
            "no label status",
        ),
        (
            "saas_connection_expected_present unless ignoring (expected) saas_connections",
            "never match",
        ),
    ] {
        let error = series.of(text).expect_err(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    let kept = series
        .of("count_values without (instance, pod) (\"shard\", connections_exporter_shard_index)");
    assert_eq!(kept, Ok(labels(["job", "shard"])));
    let kept = series.of(
        "connections_exporter_target_up - ignoring (system, account, target) group_left () \
            connections_exporter_time_seconds",
    );
    let all = ["job", "instance", "pod", "system", "account", "target"];
    assert_eq!(kept, Ok(labels(all)));
}
