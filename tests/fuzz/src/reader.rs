//! Values out of any bytes: when the bytes are used up, everything is zero.

pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Reader(input)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        taken.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        self.0 = rest;
        taken
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    /// Mostly small, so that indices are often valid.
    pub(crate) fn index(&mut self) -> u32 {
        match self.u8() {
            0xff => u32::from_le_bytes(self.take()),
            small => u32::from(small % 8),
        }
    }

    /// Small, or of any size.
    pub(crate) fn i64(&mut self) -> i64 {
        match self.u8() {
            0xff => i64::from_le_bytes(self.take()),
            small => i64::from(small) - 3,
        }
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.u8() % 2 == 1).then(|| read(self))
    }

    /// A text of up to 300 letters.
    pub(crate) fn text(&mut self) -> String {
        let length = usize::from(self.u8()) * usize::from(1 + self.u8() % 2);
        "x".repeat(length.min(300))
    }
}
