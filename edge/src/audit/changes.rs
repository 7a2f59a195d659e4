//! Changes of the running edge on their way into the audits.

use marketprism_schema::{EdgeChange, EdgeChanges};

use super::auditor::Auditor;

impl Auditor {
    /// Changes for the next audits; one with the id and time of an earlier one replaces it.
    pub fn note_changes(&self, changes: impl IntoIterator<Item = EdgeChange>) {
        if self.is_on() {
            self.lock().changes.extend(changes);
        }
    }

    /// Changes since the last call.
    pub fn take_changes(&self) -> Vec<EdgeChanges> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let changes = std::mem::take(&mut self.lock().changes);
        EdgeChanges::new(&origin.edge, &origin.region, changes).collect()
    }
}
