//! MQTT 3.1.1 and 5 behind one set of words; the codec is `mqtt-protocol-core`.
//!
//! Bytes in, `Incoming` out (`packets.rs` reads them); words in, bytes out. No rights, no sessions, no sockets here.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event, TimerKind};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait, MaximumQos, Packet, Property, Qos, ReceiveMaximum, SharedSubscriptionAvailable,
    SubscriptionIdentifierAvailable, TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, SubackReasonCode, SubackReturnCode,
    UnsubackReasonCode,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};

use super::message::Message;
use super::packets::{Incoming, understand};

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

impl Default for Wire {
    /// A codec that learns its version from the CONNECT.
    fn default() -> Self {
        // AWS IoT quota: 128 KB payload; the rest is room for the topic and properties.
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAX_PACKET);
        Self { codec: Connection::with_options(Version::Undetermined, options) }
    }
}

impl Wire {
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
        // AWS has shared subscriptions; the twin has not, and says so.
        SharedSubscriptionAvailable::new(0).map(Property::SharedSubscriptionAvailable),
        SubscriptionIdentifierAvailable::new(0).map(Property::SubscriptionIdentifierAvailable),
    ]
    .into_iter()
    .flatten()
    .collect()
}
