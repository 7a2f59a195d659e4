//! Ed25519 signatures of components: keys and signing. `marketprism_schema` verifies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marketprism_schema::{
    SIGNATURE_SECTION, VERIFYING_KEY_BYTES, VerifyingKey, signed_part, with_custom_section,
};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Secret key that adapters are signed with; its text is base64 of PKCS #8.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Draws a key. Returns its text. `None`: this machine gives no random numbers.
    pub fn generate() -> Option<String> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(STANDARD.encode(document.as_ref()))
    }

    /// Reads the text of a key. `None`: it is no Ed25519 key in PKCS #8 in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let document = STANDARD.decode(text.trim()).ok()?;
        Ed25519KeyPair::from_pkcs8(&document).ok().map(Self)
    }

    /// The key that verifies its signatures.
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut bytes = [0; VERIFYING_KEY_BYTES];
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        bytes.into()
    }

    /// The component with a signature at its end, instead of any that it had.
    pub fn sign(&self, component: &[u8]) -> Vec<u8> {
        // Without content: what is signed ends where the section begins.
        let unsigned = with_custom_section(component, SIGNATURE_SECTION, &[]);
        let content = signed_part(&unsigned).map_or(component, |(content, _)| content);
        with_custom_section(content, SIGNATURE_SECTION, self.0.sign(content).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use marketprism_schema::{SignatureError, verify_signature};

    use super::*;

    #[test]
    fn only_a_pinned_key_and_unchanged_bytes_pass() {
        let keys = [0; 2].map(|_| SigningKey::parse(&SigningKey::generate().unwrap()).unwrap());
        let [key, other] = keys.each_ref().map(SigningKey::verifying_key);
        assert_eq!(VerifyingKey::parse(&key.to_string()), Some(key));
        let component = with_custom_section(b"\0asm\x0d\0\x01\0", "code", b"content");
        assert_eq!(verify_signature(&component, &[key]), Err(SignatureError::Unsigned));
        let signed = keys[0].sign(&component);
        assert_eq!(verify_signature(&signed, &[other, key]), Ok(key));
        assert_eq!(verify_signature(&signed, &[other]), Err(SignatureError::Untrusted { keys: 1 }));
        assert_eq!(verify_signature(&keys[1].sign(&signed), &[other]), Ok(other), "signed again");
        for at in 0..signed.len() {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert!(verify_signature(&changed, &[key]).is_err(), "byte {at}");
        }
    }
}
