//! Causes, the alerts that each of them raises, and how each of them is removed.

mod connections;
mod exporter;
mod targets;
mod tokens;

use std::future::{Ready, ready};

use tokio::time::Instant;

use crate::inbox::{Alert, Inbox};
use crate::scene::Scene;
use crate::stack::Stack;
use crate::{Rehearsal, Row};
pub(crate) use exporter::absent;

fn alert(name: &str, severity: &str, labels: &str) -> Alert {
    Alert::new(name, severity, labels)
}

/// Does nothing: for a cause that exists from the start, or that ends by itself.
fn nothing() -> Ready<()> {
    ready(())
}

/// Runs all causes at once, except for the one that would hide the others.
pub(crate) async fn all(scene: &Scene, inbox: &Inbox, stack: &Stack, began: Instant) -> Vec<Row> {
    let (tokens, own, edges, stored, targets, vendor, budget, exporter, unknown) = tokio::join!(
        tokens::tokens(scene, inbox),
        tokens::own(scene, inbox),
        connections::edges(scene, inbox, began),
        connections::stored(scene, inbox),
        targets::targets(scene, inbox, began),
        targets::vendor(scene, inbox, began),
        targets::budget(scene, inbox),
        exporter::exporter(scene, inbox, began),
        exporter::unknown(scene, inbox, stack),
    );
    let rows = [
        tokens, own, edges, stored, targets, vendor, budget, exporter, unknown,
    ];
    rows.into_iter().flatten().collect()
}
