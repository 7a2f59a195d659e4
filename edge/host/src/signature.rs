//! Ed25519 signatures of components: keys, signing, verification against pinned keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use thiserror::Error;

use crate::sections::{SIGNATURE_SECTION, signed_part, with_custom_section};

/// Bytes of a public key.
const KEY_BYTES: usize = 32;

/// Key that adapters are verified with; its text is base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; KEY_BYTES]);

impl VerifyingKey {
    /// Reads the text of a key. `None`: it is not 32 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

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
        let mut bytes = [0; KEY_BYTES];
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        VerifyingKey(bytes)
    }

    /// The component with a signature at its end, instead of any that it had.
    pub fn sign(&self, component: &[u8]) -> Vec<u8> {
        // Without content: what is signed ends where the section begins.
        let unsigned = with_custom_section(component, SIGNATURE_SECTION, &[]);
        let content = signed_part(&unsigned).map_or(component, |(content, _)| content);
        with_custom_section(content, SIGNATURE_SECTION, self.0.sign(content).as_ref())
    }
}

/// Rejection of a component's signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// It has none.
    #[error("component has no signature: sign it with `marketprism-edge adapter sign`")]
    Unsigned,
    /// No key of those verifies it: another key, or changed bytes.
    #[error("signature of the component fits none of the {keys} keys of adapters.trusted_keys")]
    Untrusted {
        /// Number of keys.
        keys: usize,
    },
}

/// Verifies that one of the keys signed the component.
pub fn verify_signature(component: &[u8], keys: &[VerifyingKey]) -> Result<VerifyingKey, SignatureError> {
    let (content, signature) = signed_part(component).ok_or(SignatureError::Unsigned)?;
    let is_signer =
        |key: &&VerifyingKey| UnparsedPublicKey::new(&ED25519, key.0).verify(content, signature).is_ok();
    keys.iter().find(is_signer).copied().ok_or(SignatureError::Untrusted { keys: keys.len() })
}

#[cfg(test)]
mod tests {
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
