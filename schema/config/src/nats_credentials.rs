//! A credentials file of NATS (JWT and seed), read again for each login: the JWT in it expires and is replaced while the process runs.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use async_nats::{Auth, AuthError, ConnectOptions};
use marketprism_service::read_text;
use nkeys::KeyPair;

/// Largest file; a JWT has some kilobytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Options that log in by the file as it is at that time.
///
/// # Errors
/// The file is none now.
pub(crate) fn credentials_options(path: PathBuf) -> Result<ConnectOptions> {
    read(&path)?;
    Ok(ConnectOptions::with_auth_callback(move |nonce| std::future::ready(login(&path, &nonce))))
}

fn login(path: &Path, nonce: &[u8]) -> std::result::Result<Auth, AuthError> {
    let failed = |error: &dyn std::fmt::Display| AuthError::new(format!("{}: {error}", path.display()));
    let (jwt, key) = read(path).map_err(|error| failed(&error))?;
    let signature = key.sign(nonce).map_err(|error| failed(&error))?;
    let mut auth = Auth::new();
    (auth.jwt, auth.signature) = (Some(jwt), Some(signature));
    Ok(auth)
}

fn read(path: &Path) -> Result<(String, KeyPair)> {
    let refused = |text: &str| Error::new(ErrorKind::InvalidData, text);
    let text = read_text(path, FILE_BYTES_MAX)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Each is between two lines with its name.
    let mut values = lines.windows(3).filter_map(|lines| match lines {
        [begin, value, end] if begin.starts_with("-----BEGIN ") && end.starts_with("---") => Some(*value),
        _ => None,
    });
    let jwt = values.next().ok_or_else(|| refused("no user JWT in it"))?;
    let seed = values.next().ok_or_else(|| refused("no seed of an nkey in it"))?;
    let key = KeyPair::from_seed(seed).map_err(|_| refused("the seed of an nkey in it is none"))?;
    Ok((jwt.to_owned(), key))
}
