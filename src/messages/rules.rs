//! What is open to applications: by the configuration, and never the daemon's own; pure.

use std::collections::BTreeSet;

use super::faults::Act;
use super::{filters, words};
use crate::cloud::topics;
use crate::control::wire::Problem;

/// What applications may do; made anew for each question, since the configuration may have changed.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Filters of topics that are open for `publish`.
    pub publish: Vec<String>,
    /// Filters that are open for `subscribe`.
    pub subscribe: Vec<String>,
    /// The users who may.
    pub users: BTreeSet<u32>,
}

/// Whether the rules open it to this user.
pub fn allowed(act: Act, name: &str, user: u32, rules: &Rules) -> Result<(), Problem> {
    if !rules.users.contains(&user) {
        let detail = format!("user id {user} may not use this device's messages any more");
        return Err(Problem::forbidden(detail, "add this user to messages.users and reload"));
    }
    let (fit, own, open) = match act {
        Act::Publish => (topics::check_topic(name), topics::is_reserved(name), &rules.publish),
        Act::Subscribe => (topics::check_filter(name), topics::filter_names_reserved(name), &rules.subscribe),
    };
    fit.map_err(|error| words::unfit(act, name, &error))?;
    // Of a topic without wildcards, covering is matching.
    if own || !open.iter().any(|wide| filters::covers(wide, name)) {
        return Err(words::closed(act, name, own, open));
    }
    Ok(())
}
