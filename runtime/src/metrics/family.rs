//! Metric families made anew at each scrape from numbers that live elsewhere. Unlike a registered metric they can
//! neither drift from their source nor keep a label whose bearer is gone.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// A gauge without labels.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    gauges(name, help, [(None, value)])
}

/// A gauge, once for each of these labels.
pub(super) fn gauges<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Option<(&'a str, &'a str)>, f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(label, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_label(labels(label));
        metric.set_gauge(gauge);
        metric
    });
    family(name, help, MetricType::GAUGE, metrics.collect())
}

/// A counter without labels.
pub(super) fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    counters(name, help, [(None, value)])
}

/// A counter, once for each of these labels.
pub(super) fn counters<'a>(
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Option<(&'a str, &'a str)>, f64)>,
) -> MetricFamily {
    let metrics = values.into_iter().map(|(label, value)| {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(labels(label));
        metric.set_counter(counter);
        metric
    });
    family(name, help, MetricType::COUNTER, metrics.collect())
}

fn labels(label: Option<(&str, &str)>) -> Vec<LabelPair> {
    let pair = label.map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    pair.into_iter().collect()
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
