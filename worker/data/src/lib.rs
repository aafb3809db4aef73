//! From files to network input: which samples a dataset has, and how each becomes pixels or tokens.
//!
//! Two promises shape this room. **An index is a function of the data**, not of the machine that reads it: samples are sorted, splits are
//! drawn from hashes of the samples' names, and every rank that indexes the same files gets the same digest. **Pixels are PIL's**: the
//! JPEG decoder and the resize reproduce libjpeg-turbo's and Pillow's integer arithmetic, so that weights trained with torchvision see
//! the input they were trained on. No pixel depends on threads, batch or CPU.
//!
//! What can be wrong with data is either a [`DataError`], which names the path, line, column or class and ends the job before its first
//! step, or a [`CorruptSample`], which is set aside.

mod dataset;
mod error;
mod image;
mod index;
mod jpeg;
mod loader;
mod preprocess;
mod scan;
mod target;
mod text;

pub use dataset::{Content, CorruptSample, Dataset, Sample, Split, SplitName};
pub use error::DataError;
pub use image::{MAX_PIXELS, Rgb, decode_rgb};
pub use index::index;
pub use loader::{Batch, BatchTensors, Loader, LoaderOptions};
pub use preprocess::Preprocessor;
pub use scan::{ScanOutcome, scan};
pub use target::{Target, Targets};
