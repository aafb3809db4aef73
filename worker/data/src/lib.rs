//! From files to network input: which samples a dataset has, and how each becomes pixels or tokens.
//!
//! Three rooms that do not know each other: `format` says how a dataset lies on disk, and lists samples; `source` says where the bytes of a
//! sample are; `modality` makes numbers of them. `labels` says what is expected of the network, and `index` joins the splits.
//!
//! Two promises shape this room. **An index is a function of the data**, not of the machine that reads it: samples are sorted, splits are
//! drawn from hashes of the samples' names, and every rank that indexes the same files gets the same digest. **Pixels are PIL's**: the
//! JPEG decoder and the resize reproduce libjpeg-turbo's and Pillow's integer arithmetic, so that weights trained with torchvision see
//! the input they were trained on. No pixel depends on threads, batch or CPU.
//!
//! What can be wrong with data is either a [`DataError`], which names the path, line, column or class and ends the job before its first
//! step, or a [`CorruptSample`], which is set aside.

mod dataset;
mod digest;
mod error;
mod format;
mod index;
mod labels;
mod loader;
mod modality;
mod names;
mod panics;
mod scan;
mod source;
mod target;
mod tensors;

pub use dataset::{CorruptSample, Dataset, Sample, Split, SplitName};
pub use error::{DataError, RowError, RowFault};
pub use format::{has_image_name, images_below};
pub use index::{Known, index, index_by, read_split};
pub use loader::{Batch, Loader, LoaderOptions};
pub use modality::image::{MAX_PIXELS, Rgb, decode_rgb};
pub use modality::{Preprocessor, TextLimits, TrainingEpoch, with_prefix_space};
pub use scan::{ScanOutcome, scan};
pub use source::{Content, Source};
pub use target::{Target, Targets};
pub use tensors::{RawTensor, Tensors, Values};
