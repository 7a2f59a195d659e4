//! Adapter components as files: their custom sections, digest, label and signature. A component is never run here.

mod label;
mod sections;
mod signature;

pub use label::{AdapterLabel, LABEL_SECTION, LabelError};
pub use sections::{GOLDEN_SECTION, SIGNATURE_SECTION, custom_section, signed_part, with_custom_section};
pub use signature::{SignatureError, VERIFYING_KEY_BYTES, VerifyingKey, component_digest, verify_signature};

/// Bytes of an adapter's component. More: it is refused.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
