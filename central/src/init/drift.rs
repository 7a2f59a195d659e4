use std::fmt;

use anyhow::bail;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub setting: String,
    pub wanted: String,
    pub found: String,
    /// Can be changed without recreating the object.
    pub changeable: bool,
}

impl Difference {
    pub fn between(
        setting: &str,
        wanted: impl fmt::Display,
        found: impl fmt::Display,
        changeable: bool,
    ) -> Option<Self> {
        let (wanted, found) = (wanted.to_string(), found.to_string());
        (wanted != found).then(|| Self { setting: setting.to_owned(), wanted, found, changeable })
    }

    pub fn list<const N: usize>(
        wanted: [(&str, String); N],
        found: [(&str, String); N],
        changeable: bool,
    ) -> Vec<Self> {
        let pairs = wanted.into_iter().zip(found);
        pairs
            .filter_map(|((name, wanted), (_, found))| Self::between(name, wanted, found, changeable))
            .collect()
    }

    /// The object itself is missing; provisioning creates it.
    pub fn missing() -> Self {
        let [setting, wanted, found] = ["existence", "there", "none"].map(str::to_owned);
        Self { setting, wanted, found, changeable: true }
    }

    /// Why it was not changed.
    pub fn because(self, error: &anyhow::Error) -> Self {
        Self { found: format!("{} ({error:#})", self.found), ..self }
    }
}

const TAKEN: &str = "subject";

impl Difference {
    /// A foreign stream stores a subject of this configuration; the broker lets only one do so.
    pub fn taken(subject: &str, holder: &str) -> Self {
        Self {
            setting: TAKEN.to_owned(),
            wanted: subject.to_owned(),
            found: format!(
                "stream {holder} takes it already; delete that stream (`nats stream rm {holder}`), take the subject from \
                 it (`nats stream edit {holder}`), or give MarketPrism an account of its own"
            ),
            changeable: false,
        }
    }

    pub fn is_taken(&self) -> bool {
        self.setting == TAKEN
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, wanted, found, changeable } = self;
        let hint = if *changeable || self.is_taken() { "" } else { " (cannot be changed in place)" };
        write!(f, "{setting}: wanted {wanted}, found {found}{hint}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectResult {
    Created,
    Applied,
    AsWanted,
    Updated(Vec<Difference>),
    Differs(Vec<Difference>),
    /// Not changed, because it belongs to another version of this program; the reason.
    Refused(String),
}

impl ObjectResult {
    pub fn of(differences: Vec<Difference>) -> Self {
        if differences.is_empty() { Self::AsWanted } else { Self::Differs(differences) }
    }
}

#[derive(Debug, Default)]
pub struct ProvisionReport {
    items: Vec<(&'static str, String, ObjectResult)>,
}

impl ProvisionReport {
    pub fn add(&mut self, kind: &'static str, name: &str, outcome: ObjectResult) {
        self.items.push((kind, name.to_owned(), outcome));
    }

    /// Every unchanged difference, `kind name: difference`.
    pub fn differences(&self) -> impl Iterator<Item = (String, &Difference)> {
        self.items.iter().flat_map(|(kind, name, outcome)| {
            let differences: &[Difference] = match outcome {
                ObjectResult::Differs(differences) => differences,
                _ => &[],
            };
            differences.iter().map(move |difference| (format!("{kind} {name}"), difference))
        })
    }

    pub fn has_drift(&self) -> bool {
        self.differences().next().is_some()
    }

    /// An error that lists the refused objects, or else every difference that cannot be changed in place.
    pub fn refuse_immutable(&self) -> anyhow::Result<()> {
        let refusals: Vec<String> = self
            .items
            .iter()
            .filter_map(|(kind, name, outcome)| match outcome {
                ObjectResult::Refused(reason) => Some(format!("\n  {kind} {name}: {reason}")),
                _ => None,
            })
            .collect();
        if !refusals.is_empty() {
            bail!(
                "a database belongs to another version of this program; nothing was changed{}",
                refusals.concat()
            );
        }
        let lines: Vec<String> = self
            .differences()
            .filter(|(_, difference)| !difference.changeable)
            .map(|(what, difference)| format!("\n  {what}: {difference}"))
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        bail!(
            "existing objects differ from the configuration and cannot be changed in place; nothing was deleted: move the \
             data and remove them by hand, or adapt the configuration{}",
            lines.concat()
        )
    }
}

impl fmt::Display for ProvisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, name, outcome) in &self.items {
            let (word, differences): (&str, &[Difference]) = match outcome {
                ObjectResult::Created => ("created", &[]),
                ObjectResult::Applied => ("applied", &[]),
                ObjectResult::AsWanted => ("as wanted", &[]),
                ObjectResult::Updated(differences) => ("changed", differences),
                ObjectResult::Differs(differences) => ("DIFFERS", differences),
                ObjectResult::Refused(_) => ("REFUSED", &[]),
            };
            writeln!(f, "{kind} {name}: {word}")?;
            for difference in differences {
                writeln!(f, "  {difference}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_both_values_and_immutable_ones_are_refused() {
        let age = Difference::between("max_age", "48 h", "24 h", true).unwrap();
        let storage = Difference::between("storage", "file", "memory", false).unwrap();
        assert_eq!(Difference::between("replicas", 1, 1, true), None);

        let mut report = ProvisionReport::default();
        report.add("stream", "A", ObjectResult::Differs(vec![age]));
        assert!(report.has_drift() && report.refuse_immutable().is_ok());
        report.add("stream", "B", ObjectResult::Differs(vec![storage]));
        let error = report.refuse_immutable().unwrap_err().to_string();
        assert!(error.contains("stream B: storage: wanted file, found memory"), "{error}");
        assert!(!error.contains("max_age"));
        assert!(report.to_string().contains("max_age: wanted 48 h, found 24 h"));
    }
}
