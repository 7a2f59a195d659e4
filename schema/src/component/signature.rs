//! Ed25519 signatures of components: verification against pinned keys.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use thiserror::Error;

use super::sections::signed_part;

/// Bytes of a public key.
pub const VERIFYING_KEY_BYTES: usize = 32;

/// Key that adapters are verified with; its text is base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; VERIFYING_KEY_BYTES]);

impl VerifyingKey {
    /// The values that a text may have, for messages.
    pub const ALLOWED: &str = "an Ed25519 public key: 32 bytes in base64";

    /// Reads the text of a key. `None`: it is not 32 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }
}

impl From<[u8; VERIFYING_KEY_BYTES]> for VerifyingKey {
    fn from(bytes: [u8; VERIFYING_KEY_BYTES]) -> Self {
        Self(bytes)
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

/// SHA-256 of a component, 64 hex digits.
pub fn component_digest(component: &[u8]) -> String {
    digest(&SHA256, component).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
