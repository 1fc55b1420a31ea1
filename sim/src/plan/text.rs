//! How a plan reads as a script: only what differs from the usual, one line per fault and per operation.

use serde::Serialize;
use serde_yaml::{Mapping, Value};

use super::Plan;

/// The plan as YAML. Reading it gives the same plan.
pub fn to_text(plan: &Plan) -> Result<String, serde_yaml::Error> {
    let mut told = serde_yaml::to_value(plan)?;
    let usual = serde_yaml::to_value(Plan::default())?;
    let mut text = String::new();
    if let (Value::Mapping(told), Value::Mapping(usual)) = (&mut told, &usual) {
        let lists = ["faults", "operations", "steps"].map(|name| (name, told.remove(name)));
        let always = ["version", "seed", "replicas"].map(|name| (Value::from(name), told.get(name).cloned()));
        drop_usual(told, usual);
        if plan.calm_at_ms == (Plan { calm_at_ms: 0, ..plan.clone() }).with_end().calm_at_ms {
            told.remove("calm_at_ms");
        }
        let mut head: Mapping = always.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        head.extend(told.clone());
        text += &serde_yaml::to_string(&head)?;
        for (name, list) in lists {
            if let Some(Value::Sequence(items)) = list.filter(|list| list != &Value::Sequence(Vec::new())) {
                text += &format!("{name}:\n");
                for item in &items {
                    text += &format!("- {}\n", flow(item)?);
                }
            }
        }
    }
    Ok(text)
}

/// Takes out what says nothing new, deeper too.
fn drop_usual(told: &mut Mapping, usual: &Mapping) {
    let names: Vec<Value> = told.keys().cloned().collect();
    for name in names {
        match (told.get_mut(&name), usual.get(&name)) {
            (Some(told_here), Some(usual_here)) if told_here == usual_here => {
                told.remove(&name);
            }
            (Some(Value::Mapping(told_here)), Some(Value::Mapping(usual_here))) => {
                drop_usual(told_here, usual_here)
            }
            (_, _) => {}
        }
    }
}

/// A value in one line.
fn flow(value: &Value) -> Result<String, serde_yaml::Error> {
    Ok(match value {
        Value::Mapping(mapping) => {
            let mut parts = Vec::new();
            for (name, value) in mapping {
                parts.push(format!("{}: {}", scalar(name)?, flow(value)?));
            }
            format!("{{{}}}", parts.join(", "))
        }
        Value::Sequence(items) => {
            let parts: Result<Vec<String>, _> = items.iter().map(flow).collect();
            format!("[{}]", parts?.join(", "))
        }
        Value::Tagged(tagged) => format!("{} {}", tagged.tag, flow(&tagged.value)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => scalar(value)?,
    })
}

fn scalar(value: &impl Serialize) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(value).map(|text| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Fault, Operation, What, draw};

    #[test]
    fn a_plan_comes_back_as_it_was_written() {
        for seed in 0..300 {
            let plan = draw(seed);
            let text = to_text(&plan).expect("it prints");
            let back: Plan = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
            assert_eq!(back.with_end(), plan, "{text}");
        }
    }

    #[test]
    fn a_small_script_says_little() {
        let plan = Plan {
            seed: 7,
            faults: vec![
                Fault { at_ms: 700, for_ms: 300, what: What::Partition(vec![0, 2]) },
                Fault { at_ms: 900, for_ms: 0, what: What::Promote(1, true) },
                Fault { at_ms: 950, for_ms: 1, what: What::PowerCutAll },
            ],
            operations: vec![Operation {
                at_us: 650_000,
                client: 0,
                node: 0,
                ask: "set k=v @2".parse().expect("fine"),
            }],
            knobs: crate::plan::Knobs { snapshot_wal_bytes: 200, ..Default::default() },
            ..Plan::default()
        };
        let text = to_text(&plan).expect("it prints");
        let (version, rest) = text.split_once('\n').expect("several lines");
        assert_eq!(version, format!("version: {}", crate::plan::PLAN_VERSION));
        assert_eq!(
            rest,
            "seed: 7\nreplicas: 2\nknobs:\n  snapshot_wal_bytes: 200\nfaults:\n\
             - {at_ms: 700, for_ms: 300, what: !partition [0, 2]}\n\
             - {at_ms: 900, for_ms: 0, what: !promote [1, true]}\n\
             - {at_ms: 950, for_ms: 1, what: power_cut_all}\n\
             operations:\n- {at_us: 650000, client: 0, node: 0, ask: set k=v @2}\n"
        );
        assert_eq!(serde_yaml::from_str::<Plan>(&text).expect("a plan"), plan);
    }
}
