//! The faults, one for each exchange id.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The control.
    None,
    /// Trades have the maker's side.
    WrongSide,
    /// Prices keep their digits, but not their decimal places.
    LostScale,
    /// Quantities are rounded to two decimal places.
    RoundedDecimal,
    /// A book update names the last update received, not the one that the venue names: gaps go undetected.
    MissedGap,
    /// A frame that is not UTF-8 traps.
    BadUtf8Trap,
    /// A trade is published once: the output depends on earlier frames.
    Nondeterminism,
    /// All trades of a batch have the time of the first one.
    Batching,
}

impl Fault {
    pub const ALL: [Fault; 8] = [
        Fault::None,
        Fault::WrongSide,
        Fault::LostScale,
        Fault::RoundedDecimal,
        Fault::MissedGap,
        Fault::BadUtf8Trap,
        Fault::Nondeterminism,
        Fault::Batching,
    ];

    pub fn exchange(self) -> &'static str {
        match self {
            Fault::None => "sound",
            Fault::WrongSide => "broken_wrong_side",
            Fault::LostScale => "broken_lost_scale",
            Fault::RoundedDecimal => "broken_rounded_decimal",
            Fault::MissedGap => "broken_missed_gap",
            Fault::BadUtf8Trap => "broken_bad_utf8_trap",
            Fault::Nondeterminism => "broken_nondeterminism",
            Fault::Batching => "broken_batching",
        }
    }

    pub fn of(exchange: &str) -> Fault {
        Fault::ALL.into_iter().find(|fault| fault.exchange() == exchange).unwrap_or(Fault::None)
    }
}
