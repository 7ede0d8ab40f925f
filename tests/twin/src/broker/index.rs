//! Ways to find sessions without looking at all of them: by connection, by certificate, by filter, by end.
//!
//! Follows what `sessions` does and decides nothing; a client that is found here is looked at again there.

use std::collections::{BTreeMap, BTreeSet};

use super::sessions::Live;
use super::topic;

/// Which clients to look at.
#[derive(Default)]
pub(super) struct Index {
    by_number: BTreeMap<u64, String>,
    by_principal: BTreeMap<String, BTreeSet<String>>,
    by_filter: BTreeMap<String, BTreeSet<String>>,
    /// Those with a filter that has a wildcard.
    wild: BTreeSet<String>,
    by_end: BTreeSet<(i64, String)>,
}

impl Index {
    /// A connection took its session.
    pub fn arrived(&mut self, client: &str, live: &Live) {
        self.by_number.insert(live.number, client.to_owned());
        self.by_principal.entry(live.principal.clone()).or_default().insert(client.to_owned());
    }

    /// A connection left its session.
    pub fn parted(&mut self, client: &str, live: &Live) {
        self.by_number.remove(&live.number);
        take(&mut self.by_principal, &live.principal, client);
    }

    /// A filter was added.
    pub fn subscribed(&mut self, client: &str, filter: &str) {
        if topic::is_plain(filter) {
            self.by_filter.entry(filter.to_owned()).or_default().insert(client.to_owned());
        } else {
            self.wild.insert(client.to_owned());
        }
    }

    /// A filter was removed; `still_wild` where another with a wildcard is left.
    pub fn unsubscribed(&mut self, client: &str, filter: &str, still_wild: bool) {
        if topic::is_plain(filter) {
            take(&mut self.by_filter, filter, client);
        } else if !still_wild {
            self.wild.remove(client);
        }
    }

    /// A session without a connection ends then.
    pub fn ends(&mut self, client: &str, ends_ms: Option<i64>) {
        if let Some(end) = ends_ms {
            self.by_end.insert((end, client.to_owned()));
        }
    }

    /// The earliest end that was noted; the session may have a connection again by now.
    pub fn first_end(&self) -> Option<(i64, String)> {
        self.by_end.first().cloned()
    }

    /// That end was dealt with.
    pub fn ended(&mut self, end: i64, client: &str) {
        self.by_end.remove(&(end, client.to_owned()));
    }

    /// Whose connection it is.
    pub fn client(&self, number: u64) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }

    /// Who is connected with a certificate.
    pub fn clients_of(&self, principal: &str) -> impl Iterator<Item = &str> {
        self.by_principal.get(principal).into_iter().flatten().map(String::as_str)
    }

    /// Who may have subscribed to a topic, in the order of client ids.
    pub fn candidates(&self, topic: &str) -> BTreeSet<&str> {
        let plain = self.by_filter.get(topic).into_iter().flatten();
        plain.chain(&self.wild).map(String::as_str).collect()
    }
}

fn take(map: &mut BTreeMap<String, BTreeSet<String>>, key: &str, client: &str) {
    if let Some(clients) = map.get_mut(key) {
        clients.remove(client);
        if clients.is_empty() {
            map.remove(key);
        }
    }
}
