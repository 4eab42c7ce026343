//! Descriptions of every metric as its collector reports them: the source of `docs/metrics.md`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{ALL, AccountMetrics, ExporterMetrics, FamilyDescription, SampleSink, freshness};
use crate::model::state::TargetState;
use crate::vendors::http::RequestLimiter;
use crate::vendors::{AccountSettings as _, zuora};

/// Description of one metric.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) kind: MetricType,
    pub(crate) labels: Vec<String>,
    pub(crate) help: String,
}

thread_local! {
    /// Metrics registered in this thread.
    ///
    /// A registry does not report vectors without samples, nor the names of labels.
    static NOTED: RefCell<Vec<Described>> = const { RefCell::new(Vec::new()) };
}

/// Records a collector that is being registered.
pub(super) fn register_name(collector: &impl Collector) {
    let families = collector.collect();
    for desc in collector.desc() {
        let Some(family) = families.iter().find(|family| family.name() == desc.fq_name) else {
            continue;
        };
        let fixed = desc
            .const_label_pairs
            .iter()
            .map(|pair| pair.name().to_owned());
        let mut labels: Vec<_> = fixed.chain(desc.variable_labels.iter().cloned()).collect();
        labels.sort_by_key(|label| label != "system");
        let noted = Described {
            name: desc.fq_name.clone(),
            kind: family.get_field_type(),
            labels,
            help: desc.help.clone(),
        };
        NOTED.with_borrow_mut(|all| all.push(noted));
    }
}

/// Samples of one target or account as messages of the `prometheus` crate.
pub(crate) struct ProtoFamilies<'a> {
    common: &'a [&'a str],
    families: Vec<MetricFamily>,
}

impl<'a> ProtoFamilies<'a> {
    /// Creates families with the values of the labels `system`, `account` and, for a target,
    /// `target`.
    pub(crate) fn new(common: &'a [&'a str]) -> Self {
        let family = |description: &FamilyDescription| {
            let mut family = MetricFamily::default();
            family.set_name(description.name.to_owned());
            family.set_help(description.help.to_owned());
            family.set_field_type(description.kind);
            family
        };
        Self {
            common,
            families: ALL.iter().map(family).collect(),
        }
    }

    /// Returns the families that have samples.
    pub(crate) fn finish(mut self) -> Vec<MetricFamily> {
        self.families
            .retain(|family| !family.get_metric().is_empty());
        self.families
    }
}

impl SampleSink for ProtoFamilies<'_> {
    fn sample(&mut self, family: usize, labels: &[&str], value: f64) {
        let values = self.common.iter().chain(labels);
        let pairs = ALL[family].labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let mut metric = Metric::from_label(pairs.collect());
        if ALL[family].kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.families[family].mut_metric().push(metric);
    }
}

/// Creates the metrics of a process with one account that has not started to poll.
fn fresh() -> (ExporterMetrics, AccountMetrics) {
    let own = ExporterMetrics::new(Timestamp::UNIX_EPOCH);
    let limiter = Arc::new(RequestLimiter::new(NonZeroU32::MIN, 1));
    let account = AccountMetrics::new("zuora", "production", limiter, own.durations());
    (own, account)
}

/// Returns all metrics in the order of their definition.
pub(crate) fn all() -> Vec<Described> {
    NOTED.take();
    fresh();
    register_name(&ProcessCollector::for_self());
    let of_targets = ALL.iter().map(|header| Described {
        name: header.name.to_owned(),
        kind: header.kind,
        labels: header
            .labels
            .iter()
            .map(|label| (*label).to_owned())
            .collect(),
        help: header.help.to_owned(),
    });
    of_targets.chain(NOTED.take()).collect()
}

/// Returns the families of a page before the first poll.
///
/// Each label with a fixed set of values has all of them from the start.
pub(crate) fn from_the_start() -> Vec<MetricFamily> {
    let (own, account) = fresh();
    let state = TargetState::new(Duration::from_mins(5), Timestamp::UNIX_EPOCH);
    let system = zuora::ZuoraAccount::SYSTEM;
    let common = [system.name, "production", "global"];
    let mut target = ProtoFamilies::new(&common);
    freshness(&state, None, &mut target);
    let mut families = target.finish();
    let mut of_account = ProtoFamilies::new(&common[..2]);
    account.samples(Timestamp::UNIX_EPOCH, &mut of_account);
    families.extend(of_account.finish());
    families.extend(own.gather(Timestamp::UNIX_EPOCH));
    families
}

/// Returns the label values of these families, by metric and label name.
pub(crate) fn values(families: &[MetricFamily]) -> BTreeMap<(&str, &str), BTreeSet<String>> {
    let mut values: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for family in families {
        for pair in family.get_metric().iter().flat_map(Metric::get_label) {
            let place = (family.name(), pair.name());
            values
                .entry(place)
                .or_default()
                .insert(pair.value().to_owned());
        }
    }
    values
}
