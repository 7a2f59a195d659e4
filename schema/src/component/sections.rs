//! Custom sections of a component that the edge reads. They do not change what the component does, but its digest.

use std::ops::Range;

/// Golden frames with their expected output.
pub const GOLDEN_SECTION: &str = "marketprism-golden";

/// Signature of all bytes before it. The last section of the component.
pub const SIGNATURE_SECTION: &str = "marketprism-signature";

/// Bytes of magic number and version.
const PREAMBLE: usize = 8;

/// Content of the first custom section of this name.
pub fn custom_section<'b>(component: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let section = Sections::of(component).find(|section| section.is_custom(component, name))?;
    component.get(section.content)?.get(name.len() + 1..)
}

/// The component with this custom section at its end, instead of any of the same name.
pub fn with_custom_section(component: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = component.get(..PREAMBLE).unwrap_or(component).to_vec();
    for section in Sections::of(component).filter(|section| !section.is_custom(component, name)) {
        bytes.extend_from_slice(component.get(section.whole).unwrap_or_default());
    }
    // A name of less than 128 bytes, as all are here, has a length of one byte.
    let head = [name.len().to_le_bytes().first().copied().unwrap_or_default()];
    bytes.push(0);
    push_length(&mut bytes, head.len() + name.len() + content.len());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// The bytes that a signature covers, and the signature. `None`: the last section is no signature.
pub fn signed_part(component: &[u8]) -> Option<(&[u8], &[u8])> {
    let last = Sections::of(component).last()?;
    let is_signature = last.is_custom(component, SIGNATURE_SECTION) && last.whole.end == component.len();
    let signature = component.get(last.content)?.get(SIGNATURE_SECTION.len() + 1..)?;
    is_signature.then_some((component.get(..last.whole.start)?, signature))
}

struct ComponentSection {
    id: u8,
    whole: Range<usize>,
    content: Range<usize>,
}

impl ComponentSection {
    fn is_custom(&self, component: &[u8], name: &str) -> bool {
        let content = component.get(self.content.clone()).unwrap_or_default();
        let Some((length, rest)) = content.split_first() else { return false };
        self.id == 0 && usize::from(*length) == name.len() && rest.starts_with(name.as_bytes())
    }
}

/// The sections of the outermost component, up to the first that is cut off.
struct Sections<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Sections<'b> {
    const fn of(bytes: &'b [u8]) -> Self {
        Self { bytes, at: PREAMBLE }
    }
}

impl Iterator for Sections<'_> {
    type Item = ComponentSection;

    fn next(&mut self) -> Option<ComponentSection> {
        let (id, after_id) = (*self.bytes.get(self.at)?, self.at + 1);
        let (length, start) = read_length(self.bytes, after_id)?;
        let content = start..start.checked_add(length)?;
        self.bytes.get(content.clone())?;
        let whole = self.at..content.end;
        self.at = content.end;
        Some(ComponentSection { id, whole, content })
    }
}

/// Reads an unsigned LEB128 number of at most 32 bits. Returns it with the position after it.
fn read_length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut length = 0_u64;
    for position in 0..5 {
        let byte = *bytes.get(at + position)?;
        length |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(length).ok()?, at + position + 1));
        }
    }
    None
}

fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f).to_le_bytes().first().copied().unwrap_or_default();
        length >>= 7;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_section_is_found_replaced_and_bounded() {
        let large = vec![7; 300];
        let one = with_custom_section(EMPTY, "one", &large);
        let two = with_custom_section(&one, GOLDEN_SECTION, b"frames");
        assert_eq!(custom_section(&two, "one"), Some(large.as_slice()));
        assert_eq!(custom_section(&two, GOLDEN_SECTION), Some(b"frames".as_slice()));
        assert_eq!(custom_section(&two, SIGNATURE_SECTION), None);
        let again = with_custom_section(&two, "one", b"");
        assert_eq!(custom_section(&again, "one"), Some(b"".as_slice()));
        assert_eq!(again.len(), two.len() - large.len() - 1, "a length of one byte instead of two");
        for cut in 0..two.len() {
            let _ = (custom_section(&two[..cut], "one"), signed_part(&two[..cut]));
        }
    }

    #[test]
    fn a_signature_covers_all_bytes_before_it_and_is_the_last_section() {
        let component = with_custom_section(EMPTY, "one", b"content");
        assert_eq!(signed_part(&component), None);
        let signed = with_custom_section(&component, SIGNATURE_SECTION, b"sixty-four bytes");
        assert_eq!(signed_part(&signed), Some((component.as_slice(), b"sixty-four bytes".as_slice())));
        let mut longer = signed.clone();
        longer.extend_from_slice(&with_custom_section(EMPTY, "two", b"after")[PREAMBLE..]);
        assert_eq!(signed_part(&longer), None);
        let torn = [&signed[..], &[0, 5, 1]].concat();
        assert_eq!(signed_part(&torn), None, "bytes that belong to no section");
    }
}
