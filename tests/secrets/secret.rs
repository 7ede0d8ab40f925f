//! A private key in every form in which it might lie about.

use std::fs;
use std::path::Path;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

/// One key, P-256.
pub struct Secret {
    /// Lines of the PEM file that hold a part of the private scalar, in base64.
    pub lines: Vec<Vec<u8>>,
    /// The private scalar, big-endian as in DER.
    pub scalar: Vec<u8>,
}

impl Secret {
    /// Reads the key of a generation.
    pub fn read(generation: &Path) -> Self {
        let path = generation.join("device.key.pem");
        let der = PrivatePkcs8KeyDer::from_pem_file(&path).expect("PKCS#8");
        let der = der.secret_pkcs8_der();
        // ECPrivateKey (RFC 5915): version 1, then the scalar as an octet string of 32 bytes.
        let mark = [0x02, 0x01, 0x01, 0x04, 0x20];
        let at = der.windows(5).position(|w| w == mark).expect("an EC key") + mark.len();
        let text = fs::read_to_string(&path).unwrap();
        let body = text.lines().filter(|l| !l.starts_with('-'));
        // 64 characters of base64 are 48 bytes.
        let lines = body.enumerate().filter(|(n, _)| n * 48 < at + 32 && (n + 1) * 48 > at);
        Self { lines: lines.map(|(_, l)| l.as_bytes().to_vec()).collect(), scalar: der[at..at + 32].to_vec() }
    }

    /// Every form, with its name.
    pub fn forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
        let mut forms: Vec<_> = self.lines.iter().map(|l| ("PEM", l.clone())).collect();
        forms.push(("scalar", self.scalar.clone()));
        forms.push(("scalar in limbs", reversed(&self.scalar)));
        forms.push(("scalar in Montgomery form", reversed(&montgomery(&self.scalar))));
        let hex: String = self.scalar.iter().map(|b| format!("{b:02x}")).collect();
        forms.push(("hex", hex.into_bytes()));
        forms
    }
}

/// Times 2^256 modulo the order of P-256, big-endian: how ring holds the scalar while it can sign.
fn montgomery(scalar: &[u8]) -> [u8; 32] {
    let mut value: [u8; 32] = scalar.try_into().expect("32 bytes");
    for _ in 0..256 {
        let carried = value[0] >> 7 == 1;
        for n in 0..32 {
            value[n] = value[n] << 1 | value.get(n + 1).map_or(0, |next| next >> 7);
        }
        if carried || value >= ORDER {
            let mut borrow = 0;
            for n in (0..32).rev() {
                let difference = i16::from(value[n]) - i16::from(ORDER[n]) - borrow;
                borrow = i16::from(difference < 0);
                value[n] = difference.rem_euclid(256) as u8;
            }
        }
    }
    value
}

/// The order of P-256 (SEC 2, 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn one_in_montgomery_form_is_two_to_the_256_modulo_the_order() {
    let mut one = [0; 32];
    one[31] = 1;
    let mut expected = [0; 32];
    // 2^256 - n, since n lies between 2^255 and 2^256.
    let mut borrow = 0;
    for n in (0..32).rev() {
        let difference = 0 - i16::from(ORDER[n]) - borrow;
        borrow = i16::from(difference < 0);
        expected[n] = difference.rem_euclid(256) as u8;
    }
    assert_eq!(montgomery(&one), expected);
}

/// Whether the needle is in there.
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    count(haystack, needle) > 0
}

/// How often the needle is in there.
pub fn count(haystack: &[u8], needle: &[u8]) -> usize {
    let (first, mut at, mut found) = (needle[0], 0, 0);
    while let Some(next) = haystack[at..].iter().position(|b| *b == first) {
        at += next;
        if haystack[at..].starts_with(needle) {
            found += 1;
        }
        at += 1;
    }
    found
}
