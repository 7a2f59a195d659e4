//! Words to the service manager that started this process (`sd_notify` of systemd). Without one they go nowhere.

use sd_notify::NotifyState;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Started; what depends on this service may start.
    Ready,
    /// Its parts make progress. With `WatchdogSec=` the manager restarts a process that does not say so for that long.
    Alive,
    Stopping,
}

/// A manager that cannot be reached is a WARN, except for `Alive`, which is said every second.
pub fn tell_service_manager(state: ServiceState) {
    let word = match state {
        ServiceState::Ready => NotifyState::Ready,
        ServiceState::Alive => NotifyState::Watchdog,
        ServiceState::Stopping => NotifyState::Stopping,
    };
    match sd_notify::notify(&[word]) {
        Ok(()) => {}
        Err(error) if state == ServiceState::Alive => {
            tracing::debug!(%error, "the service manager cannot be reached");
        }
        Err(error) => tracing::warn!(%error, ?state, "the service manager cannot be reached"),
    }
}
