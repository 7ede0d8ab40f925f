//! The daemon's order of packets and files, with nothing between them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::mqtt::{Mqtt, Pair};
use crate::{FloorError, io};

/// Where everything is.
pub struct Places {
    /// The twin's MQTT port.
    pub port: u16,
    /// The twin's directory.
    pub twin: PathBuf,
    /// The serial, and the thing's name.
    pub serial: String,
}

/// A device with a session.
pub struct Device {
    places: Places,
    disk: Disk,
    mqtt: Mqtt,
    generation: u32,
}

/// A pair that was issued, as PEM.
struct Issued {
    key: String,
    certificate: String,
    id: String,
    token: String,
}

impl Device {
    /// A first provisioning: claim, issue, register, prove, switch, commit.
    pub fn provision(places: Places, dir: &Path) -> Result<Self, FloorError> {
        let disk = Disk::make(dir)?;
        let claim = |name: &str| fs::read(places.twin.join(name)).map_err(io("read the claim pair"));
        let (certificate, key) = (claim("claim.cert.pem")?, claim("claim.key.pem")?);
        let pair = Pair { certificate: &certificate, key: &key };
        let client = format!("claim-{}-{:08x}", places.serial, std::process::id());
        let mut mqtt = Mqtt::connect(places.port, &places.root(), &pair, &client, true)?;
        mqtt.subscribe(&answers(CLAIM))?;
        disk.probe()?;
        let issued = issue(&mut mqtt)?;
        disk.put("device.json", 116)?;
        disk.put("retire.json", 86)?;
        disk.generation(1, issued.key.as_bytes(), issued.certificate.as_bytes())?;
        tell("issue");
        let mut device = Self { places, disk, mqtt, generation: 1 };
        device.finish(CLAIM, &issued, |disk| {
            disk.put("history.json", 400)?;
            disk.put("device.json", 116)
        })?;
        Ok(device)
    }

    /// A rotation on the session in hand.
    pub fn rotate(&mut self) -> Result<(), FloorError> {
        self.disk.probe()?;
        let issued = issue(&mut self.mqtt)?;
        self.generation += 1;
        self.disk.put("retire.json", 86)?;
        self.disk.generation(self.generation, issued.key.as_bytes(), issued.certificate.as_bytes())?;
        tell("issue");
        self.finish(ROTATE, &issued, |disk| disk.put("history.json", 800))
    }

    /// From the issued pair on disk to the end of its predecessor.
    fn finish(
        &mut self,
        template: &str,
        issued: &Issued,
        switched: impl FnOnce(&Disk) -> Result<(), FloorError>,
    ) -> Result<(), FloorError> {
        let (n, thing) = (self.generation, self.places.serial.clone());
        self.disk.state(n, 777)?;
        let topic = format!("$aws/provisioning-templates/{template}/provision/json");
        let question = json!({
            "certificateOwnershipToken": issued.token,
            "parameters": { "SerialNumber": thing },
        });
        accepted(self.mqtt.ask(&topic, question.to_string().as_bytes())?)?;
        self.disk.forget_token(n)?;
        tell("register");
        let pair = Pair { certificate: issued.certificate.as_bytes(), key: issued.key.as_bytes() };
        let mut mqtt = Mqtt::connect(self.places.port, &self.places.root(), &pair, &thing, false)?;
        let own = |rest: &str| format!("device/{thing}/certrot/{rest}");
        let mut filters = vec![own("commit/accepted"), own("commit/rejected"), own("rotate")];
        filters.extend(answers(ROTATE));
        mqtt.subscribe(&filters)?;
        let no_csr = json!({ "certificateSigningRequest": "certrotd: not a CSR" });
        let (topic, _) = mqtt.ask(CREATE, no_csr.to_string().as_bytes())?;
        if !topic.ends_with("/rejected") {
            return Err(FloorError::Unexpected("a rejected"));
        }
        self.mqtt = mqtt;
        self.disk.state(n, 271)?;
        tell("prove");
        self.disk.put("retire.json", 170)?;
        self.disk.switch(n)?;
        tell("switch");
        switched(&self.disk)?;
        self.disk.put("retire.json", 200)?;
        let commit = json!({ "certificateId": issued.id });
        accepted(self.mqtt.ask(&own("commit"), commit.to_string().as_bytes())?)?;
        tell("retire");
        self.disk.put("history.json", 900)?;
        self.disk.put("retire.json", 120)
    }
}

impl Places {
    fn root(&self) -> PathBuf {
        self.twin.join("ca.pem")
    }
}

fn issue(mqtt: &mut Mqtt) -> Result<Issued, FloorError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "device");
    let csr = params.serialize_request(&key)?.pem()?;
    let question = json!({ "certificateSigningRequest": csr });
    let answer = accepted(mqtt.ask(CREATE, question.to_string().as_bytes())?)?;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    Ok(Issued {
        key: key.serialize_pem(),
        certificate: text("certificatePem"),
        id: text("certificateId"),
        token: text("certificateOwnershipToken"),
    })
}

fn accepted((topic, body): (String, Vec<u8>)) -> Result<Value, FloorError> {
    if !topic.ends_with("/accepted") {
        return Err(FloorError::Unexpected("an accepted"));
    }
    serde_json::from_slice(&body).map_err(|_| FloorError::Unexpected("JSON"))
}

/// The answer topics that the daemon subscribes to.
fn answers(template: &str) -> Vec<String> {
    let register = format!("$aws/provisioning-templates/{template}/provision/json");
    [CREATE, "$aws/certificates/create/json", &register]
        .iter()
        .flat_map(|topic| [format!("{topic}/accepted"), format!("{topic}/rejected")])
        .collect()
}

fn tell(step: &str) {
    println!("step {step}");
}

const CREATE: &str = "$aws/certificates/create-from-csr/json";
const CLAIM: &str = "certrot-claim";
const ROTATE: &str = "certrot-rotate";
