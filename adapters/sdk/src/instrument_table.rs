//! Look-up of an instrument by the venue symbol in a frame.

use std::collections::BTreeMap;

/// Venue symbols to positions in the feed's instrument list. Symbols of up to 32 bytes are compared as words.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    slots: Vec<Slot>,
    mask: usize,
    long: BTreeMap<Box<[u8]>, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: Name,
    index: u32,
}

/// A symbol of up to 32 bytes. Its length is part of it, so that different symbols never have the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Name {
    low: u64,
    high: u64,
    /// Of one with more than 16 bytes: its second word, and its last one but one.
    middle: [u64; 2],
    length: u32,
}

const EMPTY: Slot = Slot { name: Name { low: 0, high: 0, middle: [0; 2], length: u32::MAX }, index: 0 };

impl InstrumentTable {
    /// A table of symbols, each with its position in the sequence. Of equal symbols the last one counts.
    pub fn new<'a>(symbols: impl IntoIterator<Item = &'a str>) -> InstrumentTable {
        let symbols: Vec<&str> = symbols.into_iter().collect();
        // At most half full, so that a search ends after a step or two.
        let capacity = (symbols.len() * 2).next_power_of_two().max(8);
        let mut table =
            InstrumentTable { slots: vec![EMPTY; capacity], mask: capacity - 1, long: BTreeMap::new() };
        for (index, symbol) in (0u32..).zip(symbols) {
            match Name::of(symbol.as_bytes()) {
                Some(name) => table.insert(Slot { name, index }),
                None => {
                    table.long.insert(symbol.as_bytes().into(), index);
                }
            }
        }
        table
    }

    /// The position of a symbol.
    #[inline]
    pub fn find(&self, symbol: &[u8]) -> Option<u32> {
        let Some(name) = Name::of(symbol) else { return self.long.get(symbol).copied() };
        let mut at = name.hash() & self.mask;
        loop {
            let slot = self.slots.get(at)?;
            if slot.name == name {
                return Some(slot.index);
            }
            if slot.name.length == u32::MAX {
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }

    fn insert(&mut self, new: Slot) {
        let mut at = new.name.hash() & self.mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.name.length == u32::MAX || slot.name == new.name {
                *slot = new;
                return;
            }
            at = (at + 1) & self.mask;
        }
    }
}

impl Name {
    #[inline(always)]
    fn of(symbol: &[u8]) -> Option<Name> {
        let length = u32::try_from(symbol.len()).ok().filter(|length| *length <= 32)?;
        let mut name = Name { low: 0, high: 0, middle: [0; 2], length };
        if let (Some((first, rest)), Some((before, last))) =
            (symbol.split_first_chunk::<8>(), symbol.split_last_chunk::<8>())
        {
            // Words overlap in a symbol that does not fill them.
            (name.low, name.high) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            if length > 16
                && let (Some(second), Some(third)) = (rest.first_chunk::<8>(), before.last_chunk::<8>())
            {
                name.middle = [second, third].map(|chunk| u64::from_le_bytes(*chunk));
            }
            return Some(name);
        }
        if let (Some(first), Some(last)) = (symbol.first_chunk::<4>(), symbol.last_chunk::<4>()) {
            let [low, high] = [first, last].map(|chunk| u64::from(u32::from_le_bytes(*chunk)));
            return Some(Name { low, high, ..name });
        }
        let low = symbol.iter().fold(0, |packed, byte| packed << 8 | u64::from(*byte));
        Some(Name { low, ..name })
    }

    #[inline(always)]
    fn hash(self) -> usize {
        let [second, third] = self.middle;
        let words = self.low ^ self.high.rotate_left(23) ^ second.rotate_left(41) ^ third.rotate_left(11);
        let mixed = words.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_find_their_own_position() {
        let long = "X".repeat(40);
        let options =
            ["BTC-31DEC21-300000-C", "BTC-31DEC21-300000-P", "BTC-31DEC22-300000-C", "BTC-31DEC21-30000-C"];
        let others = ["BTCUSDT", "BTCUSDC", "\u{5e01}USDT", ""].into_iter().chain(options);
        let symbols: Vec<&str> = (1..40).map(|length| &long[..length]).chain(others).collect();
        let table = InstrumentTable::new(symbols.iter().copied());
        for (index, symbol) in symbols.iter().enumerate() {
            assert_eq!(table.find(symbol.as_bytes()), Some(index as u32), "{symbol}");
        }
        for other in ["BTCUSD", "btcusdt", "BTCUSDTX", "Y", &long] {
            assert_eq!(table.find(other.as_bytes()), None, "{other}");
        }
        assert_eq!(InstrumentTable::new([]).find(b"BTCUSDT"), None);
        assert_eq!(InstrumentTable::default().find(b"BTCUSDT"), None);
    }
}
