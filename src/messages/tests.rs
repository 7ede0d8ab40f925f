//! The post office, with time as a number and the session played by hand.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::{Blame, Command, End, Post, Rules};
use crate::control::Peer;
use crate::control::messages::{Outlet, Publish, Subscribe, inbox};
use crate::control::wire::{GapReason, Heard, Message, Problem, Published, Status};
use crate::metrics::Metrics;

type Reply = oneshot::Receiver<Result<Published, Problem>>;

struct Desk {
    post: Post,
    now: Instant,
    rules: Rules,
    metrics: Arc<Metrics>,
}

impl Desk {
    /// With a session that the broker knew nothing of.
    fn new() -> Desk {
        let mut desk = Desk::without_session();
        desk.post.up(false);
        desk
    }

    fn without_session() -> Desk {
        let (now, metrics) = (Instant::now(), Arc::new(Metrics::default()));
        let open = vec!["device/x/#".to_owned()];
        let rules = Rules { publish: open.clone(), subscribe: open, users: [0, 7, 8].into() };
        Desk { post: Post::new(now, Arc::clone(&metrics)), now, rules, metrics }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn publish_as(&mut self, user: u32, topic: &str, size: usize) -> Reply {
        let (reply, answer) = oneshot::channel();
        let payload = Bytes::from(vec![b'x'; size]);
        let by = Peer { uid: user, pid: 1 };
        let patience = Duration::from_secs(30);
        let publish = Publish { topic: topic.to_owned(), payload, patience, by, reply };
        self.post.publish(self.now, publish, &self.rules);
        answer
    }

    fn publish(&mut self, topic: &str) -> Reply {
        self.publish_as(7, topic, 5)
    }

    fn subscribe_as(&mut self, user: u32, filter: &str) -> Result<Outlet, Problem> {
        let (inbox, outlet) = inbox();
        let (reply, mut answer) = oneshot::channel();
        let by = Peer { uid: user, pid: 1 };
        let subscribe = Subscribe { filter: filter.to_owned(), by, reply, inbox };
        self.post.subscribe(self.now, subscribe, &self.rules);
        answer.try_recv().expect("answered at once").map(|()| outlet)
    }

    fn subscribe(&mut self, filter: &str) -> Outlet {
        self.subscribe_as(7, filter).expect("taken")
    }

    fn work(&mut self) -> Vec<Command> {
        self.post.work(self.now)
    }

    /// The topics that go out now, with their numbers.
    fn sends(&mut self) -> Vec<(u64, String)> {
        let sent = self.work().into_iter().map(|command| match command {
            Command::Publish { id, topic, .. } => (id, topic),
            other => panic!("{other:?}"),
        });
        sent.collect()
    }

    /// Grants whatever is asked for, and gives it with what is given up, the latter with a minus.
    fn grants(&mut self) -> Vec<String> {
        let mut asked = Vec::new();
        loop {
            let commands = self.work();
            if commands.is_empty() {
                return asked;
            }
            for command in commands {
                match command {
                    Command::Subscribe { id, filters } => {
                        asked.extend(filters);
                        self.post.answered(self.now, id, &[]);
                    }
                    Command::Unsubscribe { filters } => asked.extend(filters.iter().map(|f| format!("-{f}"))),
                    Command::Publish { .. } => panic!("{command:?}"),
                }
            }
        }
    }

    fn closed(&mut self) -> Blame {
        self.post.down(self.now, End::Closed)
    }

    fn hears(&mut self, topic: &str) {
        self.post.message(Message { topic: topic.to_owned(), ..Message::default() }, 10);
    }

    fn counted(&self, line: &str) -> bool {
        self.metrics.text(&Status::default()).lines().any(|has| has == line)
    }
}

/// What a reader has to read now, in short.
fn heard(outlet: &mut Outlet) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(Some(heard)) = now_or_never(outlet.next()) {
        all.push(match heard {
            Heard::Subscribed { .. } => "subscribed".to_owned(),
            Heard::Message(message) => message.topic,
            Heard::Gap(gap) if gap.reason == GapReason::SessionLost => "session-lost".to_owned(),
            Heard::Gap(gap) => format!("gap {:?}", gap.lost),
            Heard::Ended(problem) => problem.code,
            Heard::Unknown => "unknown".to_owned(),
        });
    }
    all
}

fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

fn code(reply: &mut Reply) -> String {
    match reply.try_recv() {
        Ok(Ok(_)) => "acknowledged".to_owned(),
        Ok(Err(problem)) => problem.code,
        Err(_) => "waits".to_owned(),
    }
}

#[test]
fn a_publish_is_answered_when_it_is_acknowledged_and_not_before() {
    let mut desk = Desk::new();
    let mut reply = desk.publish("device/x/a");
    let sent = desk.sends();
    assert_eq!(code(&mut reply), "waits");
    desk.later(1);
    desk.post.acknowledged(desk.now, sent[0].0);
    let published = reply.try_recv().expect("answered").expect("acknowledged");
    assert_eq!((published.topic.as_str(), published.bytes, published.millis), ("device/x/a", 5, 1000));
    assert!(desk.counted("certrotd_publishes_total{result=\"acknowledged\"} 1"));
    assert_eq!(desk.work(), []);
}

#[test]
fn what_is_unacknowledged_goes_over_to_the_next_session_in_order_and_a_late_acknowledgement_counts_rule_9() {
    let mut desk = Desk::new();
    let mut replies: Vec<_> = ["device/x/a", "device/x/b", "device/x/c"].map(|t| desk.publish(t)).into();
    let first = desk.sends();
    desk.post.acknowledged(desk.now, first[1].0);
    assert_eq!(desk.post.down(desk.now, End::Expected), Blame::None);
    assert_eq!(desk.work(), []);
    let mut waiting = desk.publish("device/x/d");
    desk.post.up(true);
    let again: Vec<_> = desk.sends().into_iter().map(|(_, topic)| topic).collect();
    assert_eq!(again, ["device/x/a", "device/x/c", "device/x/d"]);
    // From the old session, told after the new one was there.
    desk.post.acknowledged(desk.now, first[0].0);
    let all: Vec<_> = replies.iter_mut().map(code).collect();
    assert_eq!(all, ["acknowledged", "acknowledged", "waits"]);
    assert_eq!(code(&mut waiting), "waits");
}

#[test]
fn a_publish_has_its_time_with_and_without_a_session_and_is_not_sent_after_it() {
    let mut desk = Desk::without_session();
    let mut reply = desk.publish("device/x/a");
    assert_eq!(desk.post.wakes_at(), Some(desk.now + Duration::from_secs(30)));
    desk.later(30);
    assert_eq!(desk.work(), []);
    assert_eq!(code(&mut reply), "not-acknowledged");
    assert!(desk.counted("certrotd_publishes_total{result=\"not-acknowledged\"} 1"));
    desk.post.up(false);
    assert_eq!(desk.work(), []);
    let abandoned = desk.publish("device/x/b");
    drop(abandoned);
    assert_eq!(desk.work(), [], "nobody waits for it, and it was never sent");
}

#[test]
fn what_would_cost_the_session_or_is_not_open_is_never_sent() {
    let mut desk = Desk::new();
    let long = format!("device/x/{}", "a".repeat(248));
    for (topic, size, wanted) in [
        ("device/x/+", 1, "bad-topic"),
        ("", 1, "bad-topic"),
        ("device/x/\0", 1, "bad-topic"),
        (long.as_str(), 1, "bad-topic"),
        ("device/x/1/2/3/4/5/6/7", 1, "bad-topic"),
        ("device/x/a", 128 * 1024 + 1, "payload-too-large"),
        ("device/y/a", 1, "topic-not-allowed"),
        ("x", 1, "topic-not-allowed"),
        ("device/x/certrot/commit", 1, "topic-not-allowed"),
        ("device/x/certrot/commit/accepted", 1, "topic-not-allowed"),
        ("device/x/certrot", 1, "topic-not-allowed"),
        ("$aws/certificates/create/json", 1, "topic-not-allowed"),
    ] {
        assert_eq!(code(&mut desk.publish_as(7, topic, size)), wanted, "{topic:?}");
    }
    for (filter, wanted) in [
        ("", "bad-filter"),
        ("device/x/#/a", "bad-filter"),
        ("device/x/a+", "bad-filter"),
        ("#", "filter-not-allowed"),
        ("+/x/#", "filter-not-allowed"),
        ("device/+/a", "filter-not-allowed"),
        ("device/y/#", "filter-not-allowed"),
        ("device/x/certrot/#", "filter-not-allowed"),
        ("device/x/certrot/commit/accepted", "filter-not-allowed"),
        ("$aws/#", "filter-not-allowed"),
        ("$share/g/device/x/#", "filter-not-allowed"),
    ] {
        assert_eq!(desk.subscribe_as(7, filter).expect_err(filter).code, wanted, "{filter:?}");
    }
    assert_eq!(code(&mut desk.publish_as(9, "device/x/a", 1)), "not-permitted");
    assert_eq!(desk.subscribe_as(9, "device/x/a").expect_err("a stranger").status, 403);
    assert_eq!(desk.work(), []);
    // Opened wide by the configuration, the daemon's own stays shut.
    desk.rules.publish = vec!["#".to_owned()];
    desk.rules.subscribe = vec!["#".to_owned()];
    assert_eq!(code(&mut desk.publish("device/y/certrot/commit")), "topic-not-allowed");
    assert_eq!(code(&mut desk.publish("$aws/things/x/shadow/update")), "topic-not-allowed");
    assert_eq!(desk.subscribe_as(7, "+/+/certrot/+").expect_err("own").code, "filter-not-allowed");
}

#[test]
fn messages_of_the_daemons_own_topics_are_heard_by_nobody_whatever_the_filter() {
    let mut desk = Desk::new();
    let mut all = desk.subscribe("device/x/#");
    let mut deep = desk.subscribe("device/x/+/commit");
    assert_eq!(desk.grants(), ["device/x/#"]);
    for topic in ["device/x/certrot/commit", "device/x/certrot/rotate", "device/x/a/commit", "$aws/x"] {
        desk.hears(topic);
    }
    assert_eq!(heard(&mut all), ["subscribed", "device/x/a/commit"]);
    assert_eq!(heard(&mut deep), ["subscribed", "device/x/a/commit"]);
}

#[test]
fn filters_within_each_other_are_asked_for_once_and_given_up_when_the_last_reader_goes() {
    let mut desk = Desk::new();
    let mut narrow = desk.subscribe("device/x/a");
    assert_eq!(desk.grants(), ["device/x/a"]);
    let mut wide = desk.subscribe("device/x/#");
    assert_eq!(desk.grants(), ["device/x/#", "-device/x/a"]);
    let second = desk.subscribe("device/x/#");
    assert_eq!(desk.grants(), [""; 0], "it stands already");
    desk.hears("device/x/a");
    assert_eq!(heard(&mut narrow), ["subscribed", "device/x/a"]);
    assert_eq!(heard(&mut wide), ["subscribed", "device/x/a"]);
    drop(wide);
    assert_eq!(desk.grants(), [""; 0], "another still wants it");
    drop(second);
    assert_eq!(desk.grants(), ["device/x/a", "-device/x/#"], "what it covered stands by itself first");
    drop(narrow);
    assert_eq!(desk.grants(), ["-device/x/a"]);
}

#[test]
fn a_session_that_the_broker_kept_is_no_gap_and_one_that_it_forgot_is() {
    let mut desk = Desk::new();
    let mut reader = desk.subscribe("device/x/#");
    assert_eq!(heard(&mut reader), [""; 0], "it does not stand yet");
    desk.grants();
    assert_eq!(heard(&mut reader), ["subscribed"]);
    desk.post.down(desk.now, End::Expected);
    desk.post.up(true);
    assert_eq!(desk.grants(), ["device/x/#"], "asked for again all the same: nobody knows what carries over");
    assert_eq!(heard(&mut reader), [""; 0]);
    desk.post.down(desk.now, End::Expected);
    let mut late = desk.subscribe("device/x/b");
    desk.post.up(false);
    desk.grants();
    assert_eq!(heard(&mut reader), ["session-lost"]);
    assert_eq!(heard(&mut late), ["subscribed"], "whoever came after the end has missed nothing");
    desk.post.gap(3);
    assert_eq!(heard(&mut reader), ["gap Some(3)"]);
}

#[test]
fn a_filter_that_the_broker_still_holds_for_nobody_is_given_up_on_the_next_session() {
    let mut desk = Desk::new();
    let reader = desk.subscribe("device/x/#");
    desk.grants();
    desk.post.down(desk.now, End::Expected);
    drop(reader);
    desk.post.up(true);
    assert_eq!(desk.grants(), ["-device/x/#"]);
    let reader = desk.subscribe("device/x/#");
    desk.grants();
    desk.post.down(desk.now, End::Expected);
    drop(reader);
    desk.post.up(false);
    assert_eq!(desk.grants(), [""; 0], "the broker has forgotten it by itself");
}

#[test]
fn a_publish_that_the_policy_forbids_is_found_alone_and_the_innocent_go_through() {
    let mut desk = Desk::new();
    let mut good = desk.publish("device/x/good");
    let mut bad = desk.publish("device/x/bad");
    let mut also = desk.publish("device/x/also");
    assert_eq!(desk.sends().len(), 3);
    assert_eq!(desk.closed(), Blame::Suspected);
    desk.post.up(true);
    let mut reader = desk.subscribe("device/x/#");
    let mut fresh = desk.publish("device/x/fresh");
    let sent = desk.sends();
    assert_eq!(sent.len(), 1, "one suspect at a time, and nothing beside it: {sent:?}");
    assert_eq!(desk.sends(), []);
    desk.post.acknowledged(desk.now, sent[0].0);
    assert_eq!(desk.sends()[0].1, "device/x/bad");
    assert_eq!(desk.closed(), Blame::Convicted("device/x/bad".to_owned()));
    assert_eq!((code(&mut good).as_str(), code(&mut bad).as_str()), ("acknowledged", "forbidden-by-policy"));
    desk.post.up(true);
    let sent = desk.sends();
    assert_eq!((sent.len(), sent[0].1.as_str()), (1, "device/x/also"));
    desk.post.acknowledged(desk.now, sent[0].0);
    assert_eq!(code(&mut also), "acknowledged");
    let commands = desk.work();
    assert!(matches!(&commands[..], [Command::Subscribe { .. }, Command::Publish { .. }]), "{commands:?}");
    assert_eq!((code(&mut fresh).as_str(), heard(&mut reader).len()), ("waits", 0));
    // Remembered for a while, and not sent meanwhile.
    assert_eq!(code(&mut desk.publish("device/x/bad")), "forbidden-by-policy");
    desk.later(600);
    assert_eq!(code(&mut desk.publish("device/x/bad")), "waits");
    assert!(desk.counted("certrotd_publishes_total{result=\"forbidden\"} 1"));
}

#[test]
fn ends_that_are_nobodys_fault_convict_nobody() {
    let mut desk = Desk::new();
    let mut reply = desk.publish("device/x/a");
    for _ in 0..5 {
        assert_eq!(desk.sends().len(), 1);
        // Take-overs, dead lines, our own ends.
        assert_eq!(desk.post.down(desk.now, End::Expected), Blame::None);
        desk.post.up(true);
    }
    for _ in 0..5 {
        assert_eq!(desk.sends().len(), 1);
        // A close long after it: AWS closes at once.
        desk.later(6);
        let blame = desk.closed();
        assert_eq!(blame, Blame::None);
        assert!(!desk.post.excuses(desk.now, &blame), "that may be a stranger with our client id");
        desk.post.up(true);
        if code(&mut reply) != "waits" {
            break;
        }
    }
    assert_eq!(code(&mut desk.publish("device/x/a")), "waits", "it is not remembered as forbidden");
}

#[test]
fn suspicions_count_for_applications_twice_and_then_for_a_stranger_and_convictions_always_rule_22() {
    let mut desk = Desk::new();
    let suspected = Blame::Suspected;
    let excused: Vec<_> = (0..4).map(|_| desk.post.excuses(desk.now, &suspected)).collect();
    assert_eq!(excused, [true, true, false, false]);
    desk.later(600);
    for _ in 0..10 {
        assert!(desk.post.excuses(desk.now, &suspected));
        assert!(desk.post.excuses(desk.now, &Blame::Convicted(String::new())));
    }
}

#[test]
fn a_user_whose_publishes_are_forbidden_again_and_again_is_shut_out_until_a_reload_and_others_are_not() {
    let mut desk = Desk::new();
    for n in 0..3 {
        let mut reply = desk.publish(&format!("device/x/{n}"));
        for _ in 0..2 {
            assert_eq!(desk.sends().len(), 1);
            desk.closed();
            desk.post.up(true);
        }
        assert_eq!(code(&mut reply), "forbidden-by-policy");
    }
    assert_eq!(code(&mut desk.publish("device/x/good")), "too-many");
    assert_eq!(desk.subscribe_as(7, "device/x/good").expect_err("shut out").code, "too-many");
    assert_eq!(code(&mut desk.publish_as(8, "device/x/good", 1)), "waits");
    desk.post.judge(&desk.rules.clone());
    assert_eq!(code(&mut desk.publish("device/x/good")), "waits");
}

#[test]
fn a_filter_that_the_policy_forbids_ends_its_readers_and_the_others_stand_by_themselves() {
    for suback in [false, true] {
        let mut desk = Desk::new();
        let mut bad = desk.subscribe("device/x/+");
        let mut covered = desk.subscribe_as(8, "device/x/a").expect("taken");
        let mut other = desk.subscribe_as(8, "device/x/b/c").expect("taken");
        if suback {
            let commands = desk.work();
            let [Command::Subscribe { id, .. }] = &commands[..] else { panic!("{commands:?}") };
            desk.post.answered(desk.now, *id, &["device/x/+".to_owned()]);
        } else {
            assert_eq!(desk.work().len(), 1);
            assert_eq!(desk.closed(), Blame::Suspected);
            desk.post.up(true);
            let alone = desk.work();
            assert!(matches!(&alone[..], [Command::Subscribe { filters, .. }] if filters == &["device/x/+"]));
            assert_eq!(desk.closed(), Blame::Convicted("device/x/+".to_owned()));
            desk.post.up(true);
        }
        desk.grants();
        assert_eq!(heard(&mut bad), ["forbidden-by-policy"]);
        assert_eq!(heard(&mut covered), ["subscribed"]);
        assert_eq!(heard(&mut other), ["subscribed"]);
        assert_eq!(desk.subscribe_as(7, "device/x/+").expect_err("remembered").code, "forbidden-by-policy");
    }
}

#[test]
fn nothing_is_sent_while_the_daemon_asks_and_it_knows_when_everything_has_arrived() {
    let mut desk = Desk::new();
    let idle = desk.post.idle();
    assert!(*idle.borrow());
    let _one = desk.publish("device/x/a");
    let sent = desk.sends();
    assert!(!*idle.borrow());
    desk.post.hold(desk.now);
    let _two = desk.publish("device/x/b");
    let _reader = desk.subscribe("device/x/#");
    assert_eq!(desk.work(), []);
    desk.post.acknowledged(desk.now, sent[0].0);
    assert!(*idle.borrow());
    assert_eq!(desk.work(), []);
    desk.post.release();
    assert_eq!(desk.work().len(), 2);
    // Not for ever: a request that has no answer ends.
    desk.post.hold(desk.now);
    let _three = desk.publish("device/x/c");
    assert_eq!(desk.work(), []);
    assert_eq!(desk.post.wakes_at(), Some(desk.now + Duration::from_secs(20)));
    desk.later(20);
    assert_eq!(desk.sends().len(), 1);
}

#[test]
fn what_the_cloud_has_taken_before_goes_on_while_the_daemon_asks_until_the_cloud_closes_a_session() {
    let mut desk = Desk::new();
    let idle = desk.post.idle();
    let _known = desk.publish("device/x/a");
    let sent = desk.sends();
    desk.post.acknowledged(desk.now, sent[0].0);
    desk.post.hold(desk.now);
    let _again = desk.publish("device/x/a");
    let _unknown = desk.publish("device/x/b");
    let _reader = desk.subscribe("device/x/#");
    let topics = |sent: Vec<(u64, String)>| sent.into_iter().map(|(_, topic)| topic).collect::<Vec<_>>();
    assert_eq!(topics(desk.sends()), ["device/x/a"]);
    assert!(*idle.borrow(), "nothing is waited for that cannot close the session");
    // The take-over: what has no acknowledgement goes over the successor at once, the rest waits on.
    desk.post.down(desk.now, End::Expected);
    desk.post.up(true);
    assert_eq!(topics(desk.sends()), ["device/x/a"]);
    assert_eq!(desk.post.wakes_at(), Some(desk.now + Duration::from_secs(20)));
    // The cloud closes the session: whoever changed the policy may have meant it.
    desk.closed();
    desk.post.up(true);
    assert_eq!(desk.work(), []);
    desk.post.release();
    assert_eq!(topics(desk.sends()), ["device/x/a"], "alone, as a suspect");
}

#[test]
fn a_paced_publish_that_is_known_to_be_taken_wakes_the_daemon_although_others_are_held() {
    let mut desk = Desk::new();
    let _known = desk.publish("device/x/a");
    let sent = desk.sends();
    desk.post.acknowledged(desk.now, sent[0].0);
    desk.post.hold(desk.now);
    let _many: Vec<_> = (0..20).map(|_| desk.publish("device/x/a")).collect();
    let _unknown = desk.publish("device/x/b");
    assert!(desk.sends().len() < 20);
    let wakes = desk.post.wakes_at().expect("the pace has room soon");
    assert!(wakes < desk.now + Duration::from_secs(1), "{:?}", wakes - desk.now);
}

#[test]
fn everything_is_bounded_and_one_user_does_not_take_it_all() {
    let mut desk = Desk::without_session();
    let mut kept = Vec::new();
    let mut take = |desk: &mut Desk, user, size| {
        let mut reply = desk.publish_as(user, "device/x/a", size);
        let taken = code(&mut reply) == "waits";
        kept.push(reply);
        taken
    };
    let of = |desk: &mut Desk, take: &mut dyn FnMut(&mut Desk, u32, usize) -> bool, user, size| {
        (0..200).filter(|_| take(desk, user, size)).count()
    };
    assert_eq!(of(&mut desk, &mut take, 7, 10), 32);
    assert_eq!(of(&mut desk, &mut take, 8, 128 * 1024), 4);
    assert_eq!(of(&mut desk, &mut take, 0, 1), 32);
    desk.post.up(false);
    let on_their_way = desk.sends().len();
    assert!(
        on_their_way <= 32,
        "AWS takes 100 unacknowledged, and the daemon's own must fit: {on_their_way}"
    );
    let mut readers: Vec<_> =
        (0..24).map(|n| desk.subscribe_as(n % 2 * 8, "device/x/#").expect("room")).collect();
    assert_eq!(desk.subscribe_as(7, "device/x/a").expect_err("full").status, 429);
    drop(readers.pop());
    desk.work();
    assert!(desk.subscribe_as(7, "device/x/a").is_ok());
}

#[test]
fn lost_pubacks_do_not_fill_the_librarys_window() {
    let mut desk = Desk::new();
    let mut sent = 0;
    for _ in 0..60 {
        let _reply = desk.publish("device/x/a");
        sent += desk.sends().len();
        desk.later(31);
        desk.work();
    }
    assert_eq!(sent, 60);
    for _ in 0..60 {
        let _reply = desk.publish("device/x/a");
        sent += desk.sends().len();
        desk.later(31);
        desk.work();
    }
    assert_eq!(sent, 64, "the rest waits for another session");
    desk.post.down(desk.now, End::Expected);
    desk.post.up(true);
    let _reply = desk.publish("device/x/a");
    assert_eq!(desk.sends().len(), 1);
}

#[test]
fn what_a_reload_no_longer_allows_ends_and_is_told() {
    let mut desk = Desk::new();
    let (mut gone, mut stays) =
        (desk.subscribe("device/x/a"), desk.subscribe_as(8, "device/x/b").expect("taken"));
    let mut reply = desk.publish("device/x/a");
    desk.rules.users.remove(&7);
    desk.post.judge(&desk.rules.clone());
    assert_eq!(
        (heard(&mut gone), code(&mut reply)),
        (vec!["not-permitted".to_owned()], "not-permitted".to_owned())
    );
    desk.grants();
    assert_eq!(heard(&mut stays), ["subscribed"]);
    assert_eq!(desk.post.end(), [Command::Unsubscribe { filters: vec!["device/x/b".to_owned()] }]);
    assert_eq!(heard(&mut stays), ["stopping"]);
}

#[test]
fn a_connection_that_takes_no_more_is_tried_again_soon() {
    let mut desk = Desk::new();
    let _reply = desk.publish("device/x/a");
    let commands = desk.work();
    desk.post.not_taken(desk.now, &commands[0]);
    assert_eq!(desk.work(), []);
    let at = desk.post.wakes_at().expect("soon");
    assert!(at < desk.now + Duration::from_secs(1));
    desk.now = at;
    assert_eq!(desk.work(), commands);
}
