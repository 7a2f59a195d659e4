//! Raw frames on disk, per exchange: what the sockets brought, in the form of recordings, compressed, in segments that are bounded in bytes and
//! age. Written by a thread behind a bounded queue: the pipelines never wait for it, and what it cannot take is missing here only, counted.

mod components;
mod head;
mod lines;
mod reader;
mod segment;
mod shared;
mod status;
mod store;
mod stores;
mod writer;

pub use components::{COMPONENTS, component_path};
pub use lines::{FrameLines, RawLine};
pub use reader::{RawBlock, RawSegment, TimeSpan, raw_segments};
pub use shared::{AdapterInUse, RawOptions};
pub use status::{RawDeletion, RawLoss, RawStatus};
pub use store::RawStore;
pub use stores::{RawStores, raw_folder};
