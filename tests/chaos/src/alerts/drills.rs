//! The drills: a fault, and the alerts that fire while it lasts.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrillFault {
    SilentVenue,
    UnsignedVersion,
    RefusedConfiguration,
    GapsInTrades,
    KilledEdge,
    StoppedEdge,
    UnreachableVenue,
    SmallLimitAndShortCertificate,
    FullJournalDisk,
    KilledBroker,
    SuspendedBroker,
    KilledCentral,
    CentralWithoutHot,
    KilledHot,
    PurgedStream,
    KilledCold,
    StrangeMessage,
    DeletedRows,
    HotPutBack,
    UnlistedSymbol,
}

#[derive(Debug)]
pub struct Drill {
    pub what: &'static str,
    pub fault: DrillFault,
    pub alerts: &'static [&'static str],
    /// Limit for its alerts to clear behind its end.
    pub clear_wait: Duration,
}

/// Ranges of the rules are at most 45 s here.
const CLEARS: Duration = Duration::from_secs(120);

const fn drill(what: &'static str, fault: DrillFault, alerts: &'static [&'static str]) -> Drill {
    Drill { what, fault, alerts, clear_wait: CLEARS }
}

pub const DRILLS: [Drill; 20] = [
    drill("the venue sends nothing", DrillFault::SilentVenue, &["StreamSilent", "NoEvents"]),
    drill("an adapter without a signature is loaded", DrillFault::UnsignedVersion, &["SwapRolledBack"]),
    drill("an invalid configuration is applied", DrillFault::RefusedConfiguration, &["ReloadRefused"]),
    drill("the venue withholds a trade again and again", DrillFault::GapsInTrades, &["GapRate"]),
    drill("an edge is killed", DrillFault::KilledEdge, &["EdgeDown", "EdgeSilent"]),
    drill("an edge is stopped", DrillFault::StoppedEdge, &["EdgeStopped"]),
    drill("an edge starts while its venue is away", DrillFault::UnreachableVenue, &["FeedNotRunning"]),
    drill(
        "an edge runs with 10 MB of memory allowed and an authority that ends in a day",
        DrillFault::SmallLimitAndShortCertificate,
        &["EdgeOverLimit", "CertificateExpiring"],
    ),
    drill("the disk of a journal is full", DrillFault::FullJournalDisk, &["JournalFailing"]),
    drill(
        "the broker is killed under a flood; one edge has a small journal, one has none",
        DrillFault::KilledBroker,
        &["BrokerDisconnected", "JournalFilling", "EventsLost"],
    ),
    drill("the broker is suspended", DrillFault::SuspendedBroker, &["PublishStalled"]),
    drill("central is killed", DrillFault::KilledCentral, &["CentralDown", "NoCentral"]),
    drill(
        "central starts without hot",
        DrillFault::CentralWithoutHot,
        &["StreamWithoutCentral", "NoLedger", "NoReplicator"],
    ),
    drill("hot is killed", DrillFault::KilledHot, &["InsertErrors", "ConsumerBacklog", "LedgerBehind"]),
    drill("messages are purged before central has them", DrillFault::PurgedStream, &["MessagesLost"]),
    drill("cold is killed", DrillFault::KilledCold, &["ReplicationFailing", "ColdLag"]),
    drill("a message is no event", DrillFault::StrangeMessage, &["DeadLetters"]),
    drill("rows are deleted from hot", DrillFault::DeletedRows, &["WindowMismatch", "ColdMismatch"]),
    drill("hot is put back to an earlier copy", DrillFault::HotPutBack, &["HotPutBack"]),
    drill(
        "a symbol is configured that the venue does not list",
        DrillFault::UnlistedSymbol,
        &["SymbolsNotListed"],
    ),
];
