//! MQTT 3.1.1 and 5 behind one set of words; the codec is `mqtt-protocol-core`.
//!
//! Bytes in, `Incoming` out; words in, bytes out. No rights, no sessions, no sockets here.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait, MaximumQos, Packet, Property, Qos, ReceiveMaximum, RetainHandling,
    SessionExpiryInterval, SubEntry, TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, SubackReasonCode, SubackReturnCode,
    UnsubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};

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

/// What one call gave.
#[derive(Debug, Default)]
pub struct Step {
    /// Packets from the client.
    pub incoming: Vec<Incoming>,
    /// Bytes to send.
    pub bytes: Vec<u8>,
    /// The connection is to be closed, and why.
    pub close: Option<String>,
    /// The keep-alive timer starts anew with this many milliseconds.
    pub timer_ms: Option<u64>,
}

/// One connection's codec.
pub struct Wire {
    codec: Connection<role::Server>,
}

impl Wire {
    /// A codec that learns its version from the CONNECT.
    pub fn new() -> Self {
        // AWS IoT quota: 128 KB payload; the rest is room for the topic and properties.
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        Self { codec: Connection::with_options(Version::Undetermined, options) }
    }

    /// Takes bytes from the socket; one call of the codec handles one packet, so it loops.
    pub fn receive(&mut self, bytes: &[u8]) -> Step {
        let mut step = Step::default();
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() && step.close.is_none() {
            let events = self.codec.recv(&mut cursor);
            self.collect(events, &mut step);
        }
        step
    }

    /// CONNACK.
    pub fn connack(&mut self, accepted: bool, session_present: bool, code: u8) -> Step {
        let packet: Option<Packet> = if self.is_v5() {
            let reason = match (accepted, code) {
                (true, _) => ConnectReasonCode::Success,
                (false, 3) => ConnectReasonCode::ServerUnavailable,
                (false, 7) => ConnectReasonCode::QuotaExceeded,
                (false, _) => ConnectReasonCode::NotAuthorized,
            };
            let builder =
                v5_0::Connack::builder().session_present(accepted && session_present).reason_code(reason);
            let props = if accepted { capabilities() } else { Vec::new() };
            builder.props(props).build().ok().map(Into::into)
        } else {
            let code = match (accepted, code) {
                (true, _) => ConnectReturnCode::Accepted,
                (false, 2) => ConnectReturnCode::IdentifierRejected,
                (false, 3) => ConnectReturnCode::ServerUnavailable,
                (false, _) => ConnectReturnCode::NotAuthorized,
            };
            let builder =
                v3_1_1::Connack::builder().session_present(accepted && session_present).return_code(code);
            builder.build().ok().map(Into::into)
        };
        self.send(packet)
    }

    /// PUBLISH to the client.
    pub fn publish(&mut self, pid: Option<u16>, message: &Message, retain: bool, dup: bool) -> Step {
        if let Some(pid) = pid {
            // The broker keeps its own window; the codec only wants to know the id.
            let _known = self.codec.register_packet_id(pid);
        }
        let qos = if pid.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let payload: Arc<[u8]> = message.payload.clone();
        let packet: Option<Packet> = if self.is_v5() {
            let builder = v5_0::Publish::builder().topic_name(message.topic.as_str()).map(|b| {
                b.qos(qos).retain(retain).dup(dup).payload(payload).props(message.properties.clone())
            });
            match (builder, pid) {
                (Ok(b), Some(pid)) => b.packet_id(pid).build().ok().map(Into::into),
                (Ok(b), None) => b.build().ok().map(Into::into),
                (Err(_), _) => None,
            }
        } else {
            let builder = v3_1_1::Publish::builder()
                .topic_name(message.topic.as_str())
                .map(|b| b.qos(qos).retain(retain).dup(dup).payload(payload));
            match (builder, pid) {
                (Ok(b), Some(pid)) => b.packet_id(pid).build().ok().map(Into::into),
                (Ok(b), None) => b.build().ok().map(Into::into),
                (Err(_), _) => None,
            }
        };
        self.send(packet)
    }

    /// PUBACK.
    pub fn puback(&mut self, pid: u16) -> Step {
        let packet: Option<Packet> = if self.is_v5() {
            v5_0::Puback::builder().packet_id(pid).build().ok().map(Into::into)
        } else {
            v3_1_1::Puback::builder().packet_id(pid).build().ok().map(Into::into)
        };
        self.send(packet)
    }

    /// SUBACK; `None` stands for a filter that was refused.
    pub fn suback(&mut self, pid: u16, granted: &[Option<u8>]) -> Step {
        let packet: Option<Packet> = if self.is_v5() {
            let codes = granted.iter().map(|g| match g {
                Some(0) => SubackReasonCode::GrantedQos0,
                Some(_) => SubackReasonCode::GrantedQos1,
                None => SubackReasonCode::NotAuthorized,
            });
            v5_0::Suback::builder().packet_id(pid).reason_codes(codes.collect()).build().ok().map(Into::into)
        } else {
            let codes = granted.iter().map(|g| match g {
                Some(0) => SubackReturnCode::SuccessMaximumQos0,
                Some(_) => SubackReturnCode::SuccessMaximumQos1,
                None => SubackReturnCode::Failure,
            });
            v3_1_1::Suback::builder()
                .packet_id(pid)
                .return_codes(codes.collect())
                .build()
                .ok()
                .map(Into::into)
        };
        self.send(packet)
    }

    /// UNSUBACK.
    pub fn unsuback(&mut self, pid: u16, existed: &[bool]) -> Step {
        let packet: Option<Packet> = if self.is_v5() {
            let codes = existed.iter().map(|e| match e {
                true => UnsubackReasonCode::Success,
                false => UnsubackReasonCode::NoSubscriptionExisted,
            });
            v5_0::Unsuback::builder()
                .packet_id(pid)
                .reason_codes(codes.collect())
                .build()
                .ok()
                .map(Into::into)
        } else {
            v3_1_1::Unsuback::builder().packet_id(pid).build().ok().map(Into::into)
        };
        self.send(packet)
    }

    /// PINGRESP.
    pub fn pong(&mut self) -> Step {
        let packet: Packet =
            if self.is_v5() { v5_0::Pingresp::new().into() } else { v3_1_1::Pingresp::new().into() };
        self.send(Some(packet))
    }

    /// DISCONNECT, where the version has one from the server; nothing otherwise.
    pub fn disconnect(&mut self, reason: DisconnectReasonCode) -> Step {
        if !self.is_v5() {
            return Step::default();
        }
        let packet = v5_0::Disconnect::builder().reason_code(reason).build().ok().map(Into::into);
        self.send(packet)
    }

    fn is_v5(&self) -> bool {
        self.codec.get_protocol_version() == Version::V5_0
    }

    fn send(&mut self, packet: Option<Packet>) -> Step {
        let mut step = Step::default();
        match packet {
            Some(packet) => {
                let events = self.codec.send(packet);
                self.collect(events, &mut step);
            }
            None => step.close = Some("a packet could not be built".into()),
        }
        step
    }

    fn collect(&mut self, events: Vec<Event>, step: &mut Step) {
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => step.incoming.extend(understand(packet)),
                Event::RequestSendPacket { packet, .. } => step.bytes.extend(packet.to_continuous_buffer()),
                Event::RequestTimerReset { kind: TimerKind::PingreqRecv, duration_ms } => {
                    step.timer_ms = Some(duration_ms);
                }
                Event::NotifyError(e) => {
                    step.close.get_or_insert_with(|| format!("protocol error: {e}"));
                }
                Event::RequestClose => {
                    step.close.get_or_insert_with(|| "protocol error".into());
                }
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
    }
}

/// AWS IoT quota: 128 KB of payload; room for topic and properties beside it.
const MAX_PACKET: u32 = 140_000;

/// What AWS's CONNACK says of the broker (developer guide, MQTT 5).
fn capabilities() -> Vec<Property> {
    [
        ReceiveMaximum::new(100).map(Property::ReceiveMaximum),
        MaximumQos::new(1).map(Property::MaximumQos),
        TopicAliasMaximum::new(8).map(Property::TopicAliasMaximum),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn understand(packet: Packet) -> Option<Incoming> {
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
