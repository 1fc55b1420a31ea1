//! What there is to ask: a list of the routes for people, and `docs/openapi.yaml` for programs. Asks nobody.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::http::request;
use synap_core::status::Role;

use super::answer::{Answer, Body, Content};
use super::operator::no_query;
use super::problem::Problem;
use super::route::{TEMPLATES, find};
use super::{HttpServer, VERSION};

/// The description of the API, as it was when this was built.
const OPENAPI: &str = include_str!("../../../docs/openapi.yaml");

/// `GET /`.
pub(crate) fn index(front: &HttpServer, head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    let view = front.handle.glance();
    let text = list(view.role);
    Ok(Answer::new(Content::Text, Body::Whole(text.into())))
}

/// `GET /openapi.yaml`.
pub(crate) fn openapi(head: &request::Parts) -> Result<Answer, Problem> {
    no_query(head)?;
    Ok(Answer::new(Content::Yaml, Body::Whole(Bytes::from_static(OPENAPI.as_bytes()))))
}

/// A line for each route.
fn list(role: Role) -> String {
    let mut text = format!("synap {VERSION}, a {}. What it answers:\n\n", role.as_str());
    for template in TEMPLATES.iter().filter(|template| template.starts_with('/')) {
        let (route, _) = find(template);
        let methods = route.allow().replace(", HEAD", "");
        // Into a string: it cannot fail.
        let _ = writeln!(text, "{methods:<9} {template:<27} {}", route.about());
    }
    text.push_str("\nBodies and answers are JSON; /openapi.yaml describes them. To begin with:\n\n");
    text.push_str("  curl -L -X POST HOST:PORT/kv/set -d '{\"key\": \"a\", \"value\": 1}'\n");
    text.push_str("  curl HOST:PORT/kv/get/a\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_a_line_of_at_most_a_hundred_columns() {
        let text = list(Role::Master);
        for template in TEMPLATES.iter().filter(|template| template.starts_with('/')) {
            assert!(text.lines().any(|line| line.contains(&format!(" {template} "))), "{template}");
        }
        assert!(text.lines().all(|line| line.len() <= 105), "{text}");
    }
}
