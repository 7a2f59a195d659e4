//! Oldest servers that do all that central asks for. An older one would refuse some of it later, or ignore it silently.

/// Lookups give ids as bytes: `reinterpret` of a text to an array.
pub const CLICKHOUSE: (u32, u32) = (25, 8);
/// The number of a stream's partitions is in its metadata.
pub const NATS: (u32, u32) = (2, 10);

/// An error for a version that is too old. One of another form is not known to be.
pub fn check(server: &str, version: &str, oldest: (u32, u32)) -> anyhow::Result<()> {
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let is_old = numbers.next().zip(numbers.next()).is_some_and(|found| found < oldest);
    let (major, minor) = oldest;
    anyhow::ensure!(
        !is_old,
        "{server} is version {version}, allowed is {major}.{minor} or later: upgrade it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_older_than_the_minimum_are_recognized() {
        let is_old = |version| check("x", version, CLICKHOUSE).is_err();
        assert_eq!(["25.7.9.1", "24.12.1.1"].map(is_old), [true; 2]);
        assert_eq!(["25.8.0.1", "26.1.1.1-lts", "x", ""].map(is_old), [false; 4]);
        let text = check("nats-server at n:1", "2.9.25", NATS).unwrap_err().to_string();
        assert_eq!(text, "nats-server at n:1 is version 2.9.25, allowed is 2.10 or later: upgrade it");
        assert!(check("n", "2.15.1", NATS).is_ok());
    }
}
