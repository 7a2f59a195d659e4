//! Closed sets of labels.

/// Enum whose values have a label each, in the order of `ALL`.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$value_meta:meta])* $value:ident = $label:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$value_meta])* $value),+ }

        impl $name {
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$value),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $label),+ }
            }
        }
    };
}
pub(crate) use labels;
