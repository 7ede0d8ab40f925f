//! Reads the configuration again, puts it in force, and says of each key that changed when it acts.

use std::sync::Arc;

use super::Engine;
use crate::config::{Config, Facts, Purpose};
use crate::control::wire::{Acts, ConfigChange, Configuration, Problem};
use crate::policy;
use crate::rotation::{Carrier, Effect, Input, Link, Outcome};
use crate::story::now;

impl Engine {
    /// Reads the configuration again and says in words what comes of it; a bad one is refused and the old one stays.
    pub(crate) fn reload(&mut self) -> Result<String, Problem> {
        self.notify.reloading();
        self.memory.borrow_mut().forget();
        let facts = Facts::gather(&self.config_path, Purpose::Run);
        let loaded = Config::load(&self.config_path, &facts);
        let result = match loaded {
            Ok((config, warnings)) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                Ok(self.take_in(config))
            }
            Err(report) => {
                let detail = format!("the new configuration is refused and the old one stays:\n{report}");
                tracing::warn!(message_id = crate::log::id::CONFIG_REFUSED, "{detail}");
                Err(Problem::configuration(detail, "correct the file, then certrotctl reload"))
            }
        };
        self.notify.ready();
        self.publish();
        result
    }

    fn take_in(&mut self, config: Config) -> String {
        let changes = changes(&self.world.config, &config);
        let words = told(&changes);
        self.log.set_level(config.log.level.into());
        self.operators.send_replace(Arc::new(policy::operators(&config)));
        self.users.send_replace(Arc::new(policy::users(&config)));
        self.adopt_config(config);
        self.rules = self.message_rules();
        self.post.judge(&self.rules);
        tracing::info!("configuration read again: {words}");
        // Whatever changed may be what keeps a session from coming about: then the next try is made at once.
        let down = self.machine.link() == Link::Down && !changes.is_empty();
        let reconnects = down || changes.iter().any(|c| c.acts == Acts::Reconnect);
        // What acted at once needs no telling any more; what waits stays told until it acts.
        let mut waiting = std::mem::take(&mut self.configuration.waiting);
        waiting.retain(|old| old.acts != Acts::Restart && changes.iter().all(|new| new.key != old.key));
        waiting.extend(changes.into_iter().filter(|c| c.acts != Acts::Now));
        self.configuration = Configuration { loaded_at: Some(now(&self.world.tools.clock)), waiting };
        if reconnects {
            self.connect_anew();
        }
        format!("the configuration is read again: {words}")
    }

    /// Puts a configuration in force. What cannot change while running keeps its old value.
    pub(crate) fn adopt_config(&mut self, mut config: Config) {
        let old = &self.world.config;
        config.device.serial = old.device.serial.clone();
        config.device.thing_name = old.device.thing_name.clone();
        config.identity.directory = old.identity.directory.clone();
        config.control.socket = old.control.socket.clone();
        config.control.metrics_listen = old.control.metrics_listen;
        self.memory.borrow_mut().forget();
        let policy = policy::of(&config, self.world.who().as_ref());
        self.world.config = std::rc::Rc::new(config);
        self.turn(Input::Reload(policy));
    }

    /// What acts from here on is no longer waited for.
    pub(super) fn acted(&mut self, effect: Effect, outcome: &Outcome) {
        let acts: &[Acts] = match (effect, outcome) {
            (Effect::Connect(Carrier::Claim), Outcome::Done) => &[Acts::Claim, Acts::Reconnect],
            (Effect::Connect(_) | Effect::Prove(_), Outcome::Done) => &[Acts::Reconnect],
            (Effect::Switch(_), Outcome::Done) => &[Acts::Rotation],
            _ => return,
        };
        self.configuration.waiting.retain(|change| !acts.contains(&change.acts));
    }
}

/// What differs, and when it acts.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<ConfigChange> {
    let (a, b) = (old, new);
    let differs = [
        ("aws.endpoint", a.aws.endpoint != b.aws.endpoint, Acts::Reconnect),
        ("aws.port", a.aws.port != b.aws.port, Acts::Reconnect),
        ("aws.root-ca", a.aws.root_ca != b.aws.root_ca, Acts::Reconnect),
        ("session.keep-alive", a.session.keep_alive != b.session.keep_alive, Acts::Reconnect),
        ("device.parameters", a.device.parameters != b.device.parameters, Acts::Rotation),
        ("identity.key-source", a.identity.key_source != b.identity.key_source, Acts::Rotation),
        ("identity.key-type", a.identity.key_type != b.identity.key_type, Acts::Rotation),
        ("rotation.template", a.rotation.template != b.rotation.template, Acts::Rotation),
        ("claim.certificate, claim.private-key", a.claim.files != b.claim.files, Acts::Claim),
        ("claim.template", a.claim.template != b.claim.template, Acts::Claim),
        ("session.start-jitter", a.session.start_jitter != b.session.start_jitter, Acts::Restart),
        ("claim.fallback-after", a.claim.fallback_after != b.claim.fallback_after, Acts::Now),
        ("identity.machine-change", a.identity.machine_change != b.identity.machine_change, Acts::Now),
        ("rotation.enabled", a.rotation.enabled != b.rotation.enabled, Acts::Now),
        ("rotation.max-age", a.rotation.max_age != b.rotation.max_age, Acts::Now),
        ("rotation.renew-before", a.rotation.renew_before != b.rotation.renew_before, Acts::Now),
        ("rotation.check-interval", a.rotation.check_interval != b.rotation.check_interval, Acts::Now),
        ("rotation.splay", a.rotation.splay != b.rotation.splay, Acts::Now),
        ("rotation.min-interval", a.rotation.min_interval != b.rotation.min_interval, Acts::Now),
        ("retire", a.retire != b.retire, Acts::Now),
        ("messages", a.messages != b.messages, Acts::Now),
        ("control.operators", a.control.operators != b.control.operators, Acts::Now),
        ("log.level", a.log != b.log, Acts::Now),
    ];
    let restarts = a.changes_that_need_restart(b).into_iter().map(|key| (key, true, Acts::Restart));
    differs
        .into_iter()
        .chain(restarts)
        .filter(|(_, differs, _)| *differs)
        .map(|(key, _, acts)| ConfigChange { key: key.to_owned(), acts })
        .collect()
}

/// All changes in one sentence, grouped by when they act.
fn told(changes: &[ConfigChange]) -> String {
    let orders = [Acts::Now, Acts::Reconnect, Acts::Rotation, Acts::Claim, Acts::Restart];
    let groups: Vec<String> = orders
        .into_iter()
        .filter_map(|acts| {
            let keys: Vec<&str> = changes.iter().filter(|c| c.acts == acts).map(|c| c.key.as_str()).collect();
            (!keys.is_empty()).then(|| format!("{} {}", keys.join(", "), acts.words()))
        })
        .collect();
    if groups.is_empty() { "nothing has changed".to_owned() } else { groups.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, acts: Acts) -> ConfigChange {
        ConfigChange { key: key.to_owned(), acts }
    }

    #[test]
    fn what_changed_is_told_in_the_order_in_which_it_acts() {
        assert_eq!(told(&[]), "nothing has changed");
        let changes = [
            change("device.serial", Acts::Restart),
            change("aws.port", Acts::Reconnect),
            change("rotation.splay", Acts::Now),
            change("aws.endpoint", Acts::Reconnect),
        ];
        assert_eq!(
            told(&changes),
            "rotation.splay in force now; aws.port, aws.endpoint by a new connection, which is made now; device.serial \
             with the next restart"
        );
    }
}
