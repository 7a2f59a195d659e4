use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, ensure};
use subtle::ConstantTimeEq;

use crate::limits::PASSWORD_BYTES;

const RANDOM_BYTES: usize = 24;

/// The password of the only user. Compared in constant time; never formatted.
pub struct Password(String);

impl Password {
    /// Reads the first line of the file; creates the file with a random password, readable for its owner only, if it is missing.
    pub fn load_or_create(path: &Path) -> anyhow::Result<Password> {
        create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let metadata = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(metadata.is_file(), "--password-file {}: not a regular file", path.display());
        ensure!(
            metadata.mode() & 0o077 == 0,
            "--password-file {}: mode is {:o}, other users can read it (allowed: 600 or 400)",
            path.display(),
            metadata.mode() & 0o777
        );
        let mut text = String::new();
        file.take(PASSWORD_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let password = text.lines().next().unwrap_or_default().trim();
        ensure!(!password.is_empty(), "--password-file {}: its first line is empty", path.display());
        Ok(Password(password.to_owned()))
    }

    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    #[cfg(test)]
    pub fn of_test(text: &str) -> Password {
        Password(text.to_owned())
    }
}

fn create(path: &Path) -> std::io::Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut random = [0; RANDOM_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::Password;

    #[test]
    fn the_password_is_made_once_and_readable_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let _made = Password::load_or_create(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 48);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Password::load_or_create(&path).unwrap();
        assert!(again.is(text.trim()));
        assert!(!again.is("") && !again.is(&text.trim()[1..]));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Password::load_or_create(&path).err().unwrap().to_string();
        assert!(error.contains("mode is 644"), "{error}");
    }

    #[test]
    fn an_empty_file_is_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "\nsecond").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Password::load_or_create(&path).err().unwrap().to_string().contains("first line is empty"));
    }
}
