//! What a client's packets say, in words that are the same for MQTT 3.1.1 and 5.

use mqtt_protocol_core::mqtt::packet::{
    Packet, Property, Qos, ReceiveMaximum, RetainHandling, SessionExpiryInterval, SubEntry,
};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

use super::message::Message;

/// A CONNECT, as far as the broker looks at it.
#[derive(Debug)]
pub struct Connect {
    /// The client id.
    pub client: String,
    /// 4 or 5.
    pub protocol: u8,
    /// Clean session, or clean start.
    pub clean: bool,
    /// MQTT 5's session expiry in seconds; `None` for MQTT 3.1.1.
    pub expiry: Option<u32>,
    /// Keep-alive in seconds.
    pub keep_alive: u16,
    /// How many unacknowledged QoS 1 messages the client takes.
    pub window: usize,
    /// The will.
    pub will: Option<Message>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
pub struct Filter {
    /// The filter.
    pub filter: String,
    /// The QoS that was asked for.
    pub qos: u8,
    /// MQTT 5's no-local.
    pub no_local: bool,
    /// MQTT 5's retain-as-published.
    pub as_published: bool,
    /// Whether retained messages are wanted.
    pub retained: Retained,
}

/// MQTT 5's retain handling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retained {
    /// Send them.
    Always,
    /// Send them where the subscription is new.
    IfNew,
    /// Do not.
    Never,
}

/// What came from the client.
#[derive(Debug)]
pub enum Incoming {
    /// CONNECT.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish {
        /// The packet id, for QoS 1 and 2.
        pid: Option<u16>,
        /// The DUP flag.
        dup: bool,
        /// The message.
        message: Message,
    },
    /// PUBACK.
    Puback(u16),
    /// SUBSCRIBE.
    Subscribe {
        /// The packet id.
        pid: u16,
        /// The filters.
        filters: Vec<Filter>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// The packet id.
        pid: u16,
        /// The filters.
        filters: Vec<String>,
    },
    /// PINGREQ.
    Ping,
    /// DISCONNECT; true where the will is to be published.
    Disconnect(bool),
    /// Anything that this broker does not do (QoS 2, AUTH).
    Unsupported(&'static str),
}

/// Reads a packet; what only the codec needs gives nothing.
pub(super) fn understand(packet: Packet) -> Option<Incoming> {
    Some(match packet {
        Packet::V3_1_1Connect(p) => Incoming::Connect(Box::new(Connect {
            client: p.client_id().to_owned(),
            protocol: 4,
            clean: p.clean_session(),
            expiry: None,
            keep_alive: p.keep_alive(),
            window: 100,
            will: p.will_topic().map(|topic| {
                let payload = p.will_payload().unwrap_or_default();
                Message::new(topic, payload, qos(p.will_qos()), p.will_retain())
            }),
        })),
        Packet::V5_0Connect(p) => {
            let mut expiry = 0;
            let mut window = 100;
            for property in p.props() {
                match property {
                    Property::SessionExpiryInterval(v) => expiry = SessionExpiryInterval::val(v),
                    Property::ReceiveMaximum(v) => window = usize::from(ReceiveMaximum::val(v)).min(100),
                    _ => {}
                }
            }
            Incoming::Connect(Box::new(Connect {
                client: p.client_id().to_owned(),
                protocol: 5,
                clean: p.clean_start(),
                expiry: Some(expiry),
                keep_alive: p.keep_alive(),
                window,
                will: p.will_topic().map(|topic| {
                    let payload = p.will_payload().unwrap_or_default();
                    Message::new(topic, payload, qos(p.will_qos()), p.will_retain())
                }),
            }))
        }
        Packet::V3_1_1Publish(p) => publish(
            p.packet_id(),
            p.dup(),
            Message::new(p.topic_name(), p.payload().as_slice(), qos(p.qos()), p.retain()),
        ),
        Packet::V5_0Publish(p) => {
            let mut message = Message::new(p.topic_name(), p.payload().as_slice(), qos(p.qos()), p.retain());
            message.properties = p.props().iter().filter(|p| is_end_to_end(p)).cloned().collect();
            publish(p.packet_id(), p.dup(), message)
        }
        Packet::V3_1_1Puback(p) => Incoming::Puback(p.packet_id()),
        Packet::V5_0Puback(p) => Incoming::Puback(p.packet_id()),
        Packet::V3_1_1Subscribe(p) => {
            Incoming::Subscribe { pid: p.packet_id(), filters: p.entries().iter().map(filter).collect() }
        }
        Packet::V5_0Subscribe(p) => {
            Incoming::Subscribe { pid: p.packet_id(), filters: p.entries().iter().map(filter).collect() }
        }
        Packet::V3_1_1Unsubscribe(p) => Incoming::Unsubscribe {
            pid: p.packet_id(),
            filters: p.entries().iter().map(|e| e.as_str().to_owned()).collect(),
        },
        Packet::V5_0Unsubscribe(p) => Incoming::Unsubscribe {
            pid: p.packet_id(),
            filters: p.entries().iter().map(|e| e.as_str().to_owned()).collect(),
        },
        Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Incoming::Ping,
        Packet::V3_1_1Disconnect(_) => Incoming::Disconnect(false),
        Packet::V5_0Disconnect(p) => {
            Incoming::Disconnect(p.reason_code() == Some(DisconnectReasonCode::DisconnectWithWillMessage))
        }
        Packet::V5_0Auth(_) => Incoming::Unsupported("AUTH"),
        _ => Incoming::Unsupported("QoS 2"),
    })
}

fn publish(pid: Option<u16>, dup: bool, message: Message) -> Incoming {
    if message.qos > 1 { Incoming::Unsupported("QoS 2") } else { Incoming::Publish { pid, dup, message } }
}

fn filter(entry: &SubEntry) -> Filter {
    let options = entry.sub_opts();
    Filter {
        filter: entry.topic_filter().to_owned(),
        qos: qos(options.qos()),
        no_local: options.nl(),
        as_published: options.rap(),
        retained: match options.rh() {
            RetainHandling::SendRetained => Retained::Always,
            RetainHandling::SendRetainedIfNotExists => Retained::IfNew,
            RetainHandling::DoNotSendRetained => Retained::Never,
        },
    }
}

/// Properties that belong to the message and not to one hop (MQTT 5, 3.3.2.3).
fn is_end_to_end(property: &Property) -> bool {
    matches!(
        property,
        Property::PayloadFormatIndicator(_)
            | Property::MessageExpiryInterval(_)
            | Property::ContentType(_)
            | Property::ResponseTopic(_)
            | Property::CorrelationData(_)
            | Property::UserProperty(_)
    )
}

fn qos(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}
