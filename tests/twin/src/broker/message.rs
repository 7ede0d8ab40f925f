//! A message on its way, and as it is kept on disk.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mqtt_protocol_core::mqtt::packet::Property;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One message. Its payload may be a secret: `Debug` shows only the size.
#[derive(Clone, Serialize, Deserialize)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The bytes.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub payload: Arc<[u8]>,
    /// 0 or 1.
    pub qos: u8,
    /// The retain flag of the publisher.
    pub retain: bool,
    /// MQTT 5's end-to-end properties; not kept over a restart of the twin.
    #[serde(skip)]
    pub properties: Vec<Property>,
}

impl Message {
    /// A message without properties.
    pub fn new(topic: &str, payload: &[u8], qos: u8, retain: bool) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), qos, retain, properties: Vec::new() }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({}, {} bytes, qos {})", self.topic, self.payload.len(), self.qos)
    }
}

fn to_base64<S: Serializer>(payload: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(payload))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Into::into).map_err(serde::de::Error::custom)
}
